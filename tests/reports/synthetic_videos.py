"""Small real H.264 videos whose every frame says its own number, and runs made of them."""

import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcm_reports import ReportInput

SIZE = (96, 96)
BITS = 7
FRAMES = 24
FPS = 8.0


def encoder() -> str:
    """Return an ffmpeg that writes H.264, or skip."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    package = pytest.importorskip(
        "imageio_ffmpeg", reason="no ffmpeg: apt-get install ffmpeg or pip install imageio-ffmpeg"
    )
    return str(package.get_ffmpeg_exe())


def frames(kind: int, count: int = FRAMES, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return (count, height, width, 3) uint8: a disc on its way, below its frame's number in bits.

    Args:
        kind: Gives the disc its colour and its phase.
        count: Number of frames.
        size: Width and height in pixels.
    """
    width, height = size
    y, x = np.mgrid[:height, :width]
    made = np.empty((count, height, width, 3), np.uint8)
    color = np.array([(60 + 37 * kind) % 256, (120 + 91 * kind) % 256, (200 + 53 * kind) % 256])
    for number in range(count):
        angle = 2 * np.pi * (number / count + kind / 7)
        cx, cy = width / 2 + width / 4 * np.cos(angle), height * (0.62 + 0.2 * np.sin(angle))
        made[number] = 225 - (25 * y / height).astype(np.uint8)[..., None]
        made[number][(x - cx) ** 2 + (y - cy) ** 2 < (height / 9) ** 2] = color
        for bit in range(BITS):
            start, end = bit * width // BITS, (bit + 1) * width // BITS
            made[number, : height // 6, start:end] = 235 if number >> bit & 1 else 20
    return made


def number_of(picture: np.ndarray) -> int:
    """Read the frame number back from a picture of any size, (H, W, 3)."""
    height, width = picture.shape[:2]
    row = picture[round(height / 12)].mean(axis=-1)
    centers = [round((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(int(row[at] > 128) << bit for bit, at in enumerate(centers))


@cache
def clip(kind: int, count: int = FRAMES, fps: float = FPS, size: tuple[int, int] = SIZE) -> bytes:
    """Return an MP4 file in H.264 with one key frame, the first."""
    command = [
        *(encoder(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{size[0]}x{size[1]}", "-r", str(fps), "-i", "-", "-c:v", "libx264"),
        *("-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "250", "-threads", "1"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        made = frames(kind, count, size).tobytes()
        subprocess.run([*command, str(path)], input=made, check=True)
        return path.read_bytes()


def unique(data: bytes, number: int) -> bytes:
    """Return the same video as another file: a ``free`` box at its end holds a number."""
    return data + struct.pack(">I4sQ", 16, b"free", number)


def with_videos(
    run: ReportInput, kinds: int = 12, *, columns: bool = True, posters: bool = True
) -> ReportInput:
    """Return a run whose every sample is a video of its own, with a poster where wanted."""
    folder = run.run_dir / "blobs" / "vv"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in range(kinds):
        Image.fromarray(frames(kind, 1)[0]).save(folder / f"poster{kind}.png")
    blobs = []
    for number in range(len(run.samples)):
        path = folder / f"{number}.mp4"
        path.write_bytes(unique(clip(number % kinds), number))
        blobs.append(str(path.relative_to(run.run_dir)))
    samples = run.samples.assign(blob=blobs, status="ok")
    if posters:
        samples["poster"] = [f"blobs/vv/poster{n % kinds}.png" for n in range(len(samples))]
    if columns:
        samples = samples.assign(fps=FPS, frames=float(FRAMES))
    return replace(run, samples=samples)


def with_linked_videos(
    run: ReportInput, kinds: int, count: int, fps: float, size: tuple[int, int]
) -> ReportInput:
    """Return a run of many large videos under as many names, named as the store names them.

    The files behind the names are hard links to a few, so that thousands need little disk.
    """
    folder = run.run_dir / "blobs" / "vv"
    folder.mkdir(parents=True)
    for kind in range(kinds):
        (folder / f"clip{kind}.mp4").write_bytes(clip(kind, count, fps, size))
        Image.fromarray(frames(kind, 1, size)[0]).save(folder / f"poster{kind}.png")
    blobs, posters = [], []
    for number, item in enumerate(run.samples["item_id"]):
        name = sha256(str(item).encode()).hexdigest() + ".mp4"
        os.link(folder / f"clip{number % kinds}.mp4", folder / name)
        blobs.append(f"blobs/vv/{name}")
        posters.append(f"blobs/vv/poster{number % kinds}.png")
    samples = run.samples.assign(blob=blobs, poster=posters, status="ok")
    return replace(run, samples=samples)
