"""Reading a video file once: all frames, and the frame rate; or looking at them one by one.

Frames equal those that VBench's own readers give, bit by bit (measured, see
``reports/gallery/vbench_parity``). Its two readers differ on one kind of file: decord follows the
colour matrix that the file names, OpenCV takes BT.601 whatever the file says. For a file that names
another matrix a video therefore holds both conversions; otherwise they are one array.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rcm_bench.errors import UserError
from rcm_bench.media import picture_flags

if TYPE_CHECKING:
    from numpy.typing import NDArray

BT601 = 5
"""FFmpeg's number of the matrix; 5 and 6 are the same matrix, 2 is "not said" and taken as it."""
_AS_BT601 = (2, 5, 6)
_RGB = 0
LOOK_BYTES = 48
"""Bytes a pixel while a video is looked at: a decoder's 24 pictures and four frames of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """A decoded video.

    Args:
        frames: uint8 of shape (T, H, W, 3), RGB, in the order of presentation.
        fps: Frames per second, as the file says.
        frames_bt601: The same pictures converted by BT.601, as OpenCV does; ``frames`` itself
            unless the file names another matrix.
    """

    frames: "NDArray[np.uint8]"
    fps: float
    frames_bt601: "NDArray[np.uint8]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What is known of a video of which no frame is kept.

    Args:
        frames: Their number.
        height: Pixels.
        width: Pixels.
        fps: Frames per second, as the file says.
        flags: What is degenerate about it, as `rcm_bench.media.picture_flags` has it.
    """

    frames: int
    height: int
    width: int
    fps: float
    flags: tuple[str, ...]


def read_video(path: Path, least_frames: int = 1) -> Video:
    """Read all frames of an MP4 file.

    Damage shows where the stream breaks its own rules; bytes that still decode cannot be told from
    another picture, since the format has no checksum.

    Args:
        path: The file. Its contents decide, not its name.
        least_frames: Fewer frames than these are refused.

    Raises:
        UserError: The file cannot be read, is damaged, cut off or empty, has no picture or no
            frame rate, too few frames, or frames of different sizes; or PyAV is not installed.
    """
    with _opened(path) as container:
        return _decode(container, path, least_frames)


def look_at_video(
    path: Path, least_frames: int, room: Callable[[int], AbstractContextManager[None]]
) -> Look:
    """Decode all frames of an MP4 file one by one; memory does not grow with their number.

    Args:
        path: The file. Its contents decide, not its name.
        least_frames: Fewer frames than these are refused.
        room: Given a number of bytes, holds them while the frames are decoded.

    Raises:
        UserError: As `read_video`.
    """
    with _opened(path) as container:
        stream = _stream(container, path)
        with room(LOOK_BYTES * stream.width * stream.height):
            return _look(container, stream, path, least_frames)


def first_frame(path: Path) -> "NDArray[np.uint8]":
    """Decode the first frame of an MP4 file, (height, width, 3), as the file's matrix has it.

    Raises:
        UserError: As `read_video`.
    """
    with _opened(path) as container:
        for frame in _pictures(container, _stream(container, path), path):
            array: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
            return array
    raise UserError(f"{path}: expected a video, got a file without pictures")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; what goes wrong with it, then or later, is said in our words."""
    av = _pyav()
    try:
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"{path}: expected an MP4 video, got an empty file")
        # The format is fixed, so that no playlist or list of files can name other files.
        with av.open(str(path), format="mp4", options={"protocol_whitelist": "file"}) as container:
            yield container
    except OSError as fault:
        if isinstance(fault, av.error.FFmpegError):
            raise UserError(f"{path}: expected an MP4 video; damaged or another format") from None
        raise UserError(f"{path}: cannot be read ({fault.strerror})") from None
    except av.error.FFmpegError:
        raise UserError(f"{path}: expected an MP4 video; damaged or another format") from None


def _pyav() -> Any:
    try:
        import av
    except ModuleNotFoundError:
        raise UserError(
            "reading videos needs PyAV. Install it with: pip install 'rcm-bench[vbench]'"
        ) from None
    return av


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise UserError(f"{path}: expected a video, got a file without pictures")
    stream = container.streams.video[0]
    if not stream.average_rate:
        raise UserError(f"{path}: expected a frame rate, the file names none")
    stream.thread_type = "AUTO"
    return stream


def _check_count(stream: Any, count: int, least_frames: int, path: Path) -> None:
    if stream.frames and count != stream.frames:
        raise UserError(
            f"{path}: the file names {stream.frames} frames, {count} could be decoded; "
            "it is cut off or damaged"
        )
    if count < least_frames:
        raise UserError(f"{path}: expected at least {least_frames} frames, got {count}")


def _look(container: Any, stream: Any, path: Path, least_frames: int) -> Look:
    first: NDArray[np.uint8] | None = None
    flags: list[str] = []
    count = 0
    for frame in _pictures(container, stream, path):
        count += 1
        if first is None:
            first = frame.to_ndarray(format="rgb24")
            flags = picture_flags(np.stack([first, first]))
        elif flags:  # what all frames share is what each shares with the first
            own = picture_flags(np.stack([first, frame.to_ndarray(format="rgb24")]))
            flags = [flag for flag in flags if flag in own]
    _check_count(stream, count, max(1, least_frames), path)
    assert first is not None
    if count == 1:
        flags = picture_flags(first[None])
    height, width = first.shape[:2]
    fps = float(stream.average_rate)
    return Look(frames=count, height=height, width=width, fps=fps, flags=tuple(flags))


def _decode(container: Any, path: Path, least_frames: int) -> Video:
    stream = _stream(container, path)
    pairs = [_converted(frame) for frame in _pictures(container, stream, path)]
    _check_count(stream, len(pairs), least_frames, path)
    frames = np.stack([named for named, _ in pairs])
    same = all(named is other for named, other in pairs)
    bt601 = frames if same else np.stack([other for _, other in pairs])
    return Video(frames=frames, fps=float(stream.average_rate), frames_bt601=bt601)


def _pictures(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Yield every frame as PyAV has it.

    Raises:
        UserError: One is damaged, or of another size than the first.
    """
    size: tuple[int, int] | None = None
    for index, frame in enumerate(container.decode(stream)):
        if frame.is_corrupt:
            raise UserError(f"{path}: frame {index} is damaged")
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise UserError(
                f"{path}: expected all frames at {size[0]}x{size[1]} px, frame {index} has "
                f"{frame.width}x{frame.height}"
            )
        yield frame


def _converted(frame: Any) -> tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]:
    """Return a frame twice: by the matrix that the file names, and by BT.601."""
    named = frame.to_ndarray(format="rgb24")
    if frame.colorspace in (*_AS_BT601, _RGB):
        return named, named
    return named, frame.to_ndarray(format="rgb24", src_colorspace=BT601)
