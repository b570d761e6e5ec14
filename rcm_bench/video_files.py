"""Videos as files: one fixed spelling of H.264 in MP4, with the frame rate that scorers read."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from rcm_bench.errors import UserError
from rcm_bench.types import Media

# x264's result depends on the number of its threads, which is why it is fixed. Colours are the
# default of ffmpeg's scaler (BT.601, limited range, no tag): readers that ignore tags undo it.
CODEC = "mp4-1"
ABOUT = "MP4, H.264 by libx264, crf 12, preset fast, yuv420p, 4 threads, no metadata"
_ENCODER = [
    *("-c:v", "libx264", "-crf", "12", "-preset", "fast", "-pix_fmt", "yuv420p", "-threads", "4"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"),
]
_MAX_MESSAGE = 500
_NICER = 5


def encode_video(media: Media) -> bytes:
    """Encode a video as MP4; equal frames give equal bytes with the same ffmpeg.

    Args:
        media: uint8 frames of shape (T, H, W, 3) with even sides, and their frame rate.

    Raises:
        ValueError: The frames or the rate are something else.
        RuntimeError: ffmpeg fails.
    """
    frames = media.array
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(
            f"expected frames of shape (T, H, W, 3) and dtype uint8, "
            f"got {frames.shape} and {frames.dtype}"
        )
    _, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"expected even sides, as yuv420p needs, got {height}x{width}")
    if media.fps is None or media.fps <= 0:
        raise ValueError(f"expected a frame rate above 0, got {media.fps}")
    rate = f"{media.fps:g}"
    with tempfile.TemporaryDirectory() as folder:
        path, said = Path(folder) / "video.mp4", Path(folder) / "said"
        command = [
            *(ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
            *("-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0", "-an", *_ENCODER, str(path)),
        ]
        if code := _fed(command, np.ascontiguousarray(frames).data.cast("B"), said):
            last = said.read_text("utf-8", "replace").strip()[-_MAX_MESSAGE:]
            raise RuntimeError(f"ffmpeg ended with code {code}: {last}")
        return path.read_bytes()


def _fed(command: Sequence[str], data: memoryview, said: Path) -> int:
    """Run a program on bytes and return its exit code; what it says goes into a file.

    The bytes go in one piece, beside which Python does other work. The program gives way to the
    thread that hands a GPU its work, and an interrupt from the keyboard is not its to end by.
    """
    with (
        said.open("wb") as file,
        subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=file,
            process_group=0,
        ) as program,
    ):
        lower = min(os.getpriority(os.PRIO_PROCESS, 0) + _NICER, 19)
        os.setpriority(os.PRIO_PROCESS, program.pid, lower)
        assert program.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and said why
            while data:
                data = data[program.stdin.write(data) :]
        program.stdin.close()
    return program.returncode


def ffmpeg() -> str:
    """Return the path of ffmpeg: the one that imageio-ffmpeg brings, so that a lock file pins it.

    Raises:
        UserError: It is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(
            "writing videos needs ffmpeg; install it with: pip install 'rcm-bench[diffusers]'"
        ) from None
    path: str = imageio_ffmpeg.get_ffmpeg_exe()
    return path
