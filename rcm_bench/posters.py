"""Still pictures of stored videos for the page: the first frame, made when a page first shows it.

They lie in the run's folder ``posters``, can be deleted, and are made again.
"""

import io
import subprocess
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from rcm_bench.diffusion.digests import write_whole
from rcm_bench.errors import UserError
from rcm_bench.video import first_frame
from rcm_bench.video_files import ffmpeg

FOLDER = "posters"
_SECONDS = 20.0


def poster_of(video: Path) -> Path | None:
    """Return the first frame of a run's video as an image file.

    Args:
        video: ``RUN/blobs/xx/NAME.mp4``.

    Returns:
        The file; None where the video cannot be decoded, or nothing here can decode one.
    """
    if len(video.parents) < 3 or video.parents[1].name != "blobs":
        return None
    path = video.parents[2] / FOLDER / f"{video.stem}.webp"
    try:
        if not path.is_file():
            frame = _by_pyav(video) if find_spec("av") is not None else _by_ffmpeg(video)
            if frame is None:
                return None
            whole = io.BytesIO()
            frame.save(whole, "WEBP", quality=85)
            write_whole(path, whole.getvalue())
    except OSError:  # a run that may not be written to has no pictures of its videos
        return None
    return path


def _by_pyav(video: Path) -> Image.Image | None:
    try:
        return Image.fromarray(first_frame(video))
    except UserError:
        return None


def _by_ffmpeg(video: Path) -> Image.Image | None:
    try:
        command = [ffmpeg(), "-v", "error", "-protocol_whitelist", "file,pipe", "-f", "mp4"]
    except UserError:  # not installed
        return None
    command += ["-i", str(video.absolute()), "-frames:v", "1", "-f", "image2pipe"]
    command += ["-c:v", "png", "pipe:1"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
        return Image.open(io.BytesIO(done.stdout)).convert("RGB")
    except (subprocess.SubprocessError, UnidentifiedImageError):
        return None
