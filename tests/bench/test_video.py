"""Reading videos: every frame once, in order; what is damaged is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from rcm_bench.errors import UserError
from rcm_bench.video import read_video

av = pytest.importorskip("av", reason="reading videos needs PyAV: pip install 'rcm-bench[vbench]'")


def write(path: Path, frames: np.ndarray, fps: int = 16, matrix: int | None = None) -> Path:
    """Write RGB frames as lossless H.264 with full colour, the index in front of the pictures."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "0", "preset": "fast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if matrix is not None:
                picture = picture.reformat(format="yuv444p", dst_colorspace=matrix)
                picture.colorspace = matrix
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def frames() -> np.ndarray:
    random = np.random.default_rng()
    blocks = random.integers(0, 256, (12, 4, 6, 3), dtype=np.uint8)
    return blocks.repeat(16, axis=1).repeat(16, axis=2)


def test_all_frames_come_in_order_with_the_rate_of_the_file(tmp_path, frames):
    video = read_video(write(tmp_path / "v.mp4", frames, fps=24))
    assert video.frames.shape == frames.shape and video.frames.dtype == np.uint8
    assert video.fps == 24
    # 8-bit YCbCr in limited range keeps RGB to about two levels.
    assert np.abs(video.frames.astype(int) - frames).max() <= 3
    assert video.frames_bt601 is video.frames


def test_a_file_that_names_another_matrix_is_read_both_ways(tmp_path, frames):
    video = read_video(write(tmp_path / "v.mp4", frames, matrix=1))
    assert np.abs(video.frames.astype(int) - frames).max() <= 3
    assert np.abs(video.frames_bt601.astype(int) - frames).max() > 10


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 1500
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "got an empty file"),
        (lambda path: path.write_text("not a video"), "expected an MP4 video"),
        (_cut, "damaged|cut off"),
        (_scramble, "damaged|cut off"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, frames, damage, message):
    path = write(tmp_path / "hurt-0.mp4", frames)
    damage(path)
    with pytest.raises(UserError, match=message) as caught:
        read_video(path)
    assert "hurt-0.mp4" in str(caught.value)


def test_too_few_frames_are_refused(tmp_path, frames):
    path = write(tmp_path / "short.mp4", frames[:1])
    assert len(read_video(path).frames) == 1
    with pytest.raises(UserError, match=r"short\.mp4: expected at least 2 frames, got 1"):
        read_video(path, least_frames=2)


def test_a_playlist_under_the_name_of_a_video_opens_nothing(tmp_path, frames):
    write(tmp_path / "real.mp4", frames)
    listed = tmp_path / "listed.mp4"
    listed.write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'real.mp4'}'\n")
    with pytest.raises(UserError, match="expected an MP4 video"):
        read_video(listed)
