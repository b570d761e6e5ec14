"""Small real H.264 videos whose every frame says its own number, and runs made of them."""

import shutil
import struct
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcm_reports import ReportInput

SIDE = 96
BITS = 5
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


def frames(kind: int, count: int = FRAMES, side: int = SIDE) -> np.ndarray:
    """Return (count, side, side, 3) uint8: a disc on its way, below the frame number in bits."""
    y, x = np.mgrid[:side, :side]
    made = np.empty((count, side, side, 3), np.uint8)
    color = np.array([(60 + 37 * kind) % 256, (120 + 91 * kind) % 256, (200 + 53 * kind) % 256])
    for number in range(count):
        angle = 2 * np.pi * (number / count + kind / 7)
        cx, cy = side / 2 + side / 4 * np.cos(angle), side * 0.62 + side / 5 * np.sin(angle)
        made[number] = 225 - (25 * y / side).astype(np.uint8)[..., None]
        made[number][(x - cx) ** 2 + (y - cy) ** 2 < (side / 9) ** 2] = color
        for bit in range(BITS):
            width = side // BITS
            shade = 235 if number >> bit & 1 else 20
            made[number, : side // 6, bit * width : (bit + 1) * width] = shade
    return made


def number_of(picture: np.ndarray) -> int:
    """Read the frame number back from a picture of any size, (H, W, 3)."""
    height, width = picture.shape[:2]
    row = picture[round(height / 12)].mean(axis=-1)
    centers = [round((bit + 0.5) * (SIDE // BITS) / SIDE * width) for bit in range(BITS)]
    return sum(int(row[at] > 128) << bit for bit, at in enumerate(centers))


@cache
def clip(kind: int, count: int = FRAMES, fps: float = FPS, keyframe: int = 250) -> bytes:
    """Return an MP4 file; ``keyframe`` is the longest distance of two key frames."""
    made = frames(kind, count)
    command = [
        *(encoder(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{SIDE}x{SIDE}", "-r", str(fps), "-i", "-", "-c:v", "libx264"),
        *("-pix_fmt", "yuv420p", "-g", str(keyframe), "-crf", "23", "-threads", "1"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        subprocess.run([*command, str(path)], input=made.tobytes(), check=True)
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
