"""Reading videos: every frame once, in order; what is damaged is refused by name."""

import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from rcm_bench.errors import UserError
from rcm_bench.media import picture_flags
from rcm_bench.video import LOOK_BYTES, look_at_video, read_video

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


def look(path, least_frames=1, room=nullcontext):
    return look_at_video(path, least_frames, room)


def _grey(shade, count=12):
    return np.full((count, 64, 96, 3), shade, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["moving", "one colour", "colours", "frozen", "last", "single"])
def test_a_look_finds_what_all_frames_together_have(kind, tmp_path, frames):
    """Frame by frame, by the same rule as for the whole video at once."""
    made = {
        "moving": frames,
        "one colour": _grey(90),
        "colours": np.concatenate([_grey(90), _grey(160)]),
        "frozen": frames[:1].repeat(12, axis=0),
        "last": np.concatenate([frames[:1].repeat(11, axis=0), frames[1:2]]),
        "single": _grey(90, 1),
    }[kind]
    path = write(tmp_path / "v.mp4", made, fps=24)
    found, whole = look(path), read_video(path)
    assert (found.frames, found.height, found.width, found.fps) == (len(made), 64, 96, 24)
    assert list(found.flags) == picture_flags(whole.frames)


def test_a_look_keeps_few_frames_however_many_there_are(tmp_path):
    size = (128, 192)
    moving = np.random.default_rng().integers(0, 256, (60, 8, 12, 3), dtype=np.uint8)
    for name, made in (("moving", moving), ("frozen", moving[:1].repeat(60, axis=0))):
        path = write(tmp_path / f"{name}.mp4", made.repeat(16, axis=1).repeat(16, axis=2))
        told = []

        def room(num_bytes, told=told):
            told.append(num_bytes)
            return nullcontext()

        tracemalloc.start()
        look(path, room=room)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert told == [LOOK_BYTES * size[0] * size[1]]
        assert peak < 8 * size[0] * size[1] * 3, "of 60 frames"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _scramble(path: Path) -> None:
    """Overwrite most frames, whole: a few hundred bytes may decode as another legal picture."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 1500
    data[start:] = b"\xff" * (len(data) - start)
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
    for read in (read_video, look):
        with pytest.raises(UserError, match=message) as caught:
            read(path)
        assert "hurt-0.mp4" in str(caught.value)


def test_too_few_frames_are_refused(tmp_path, frames):
    path = write(tmp_path / "short.mp4", frames[:1])
    assert len(read_video(path).frames) == 1
    with pytest.raises(UserError, match=r"short\.mp4: expected at least 2 frames, got 1"):
        read_video(path, least_frames=2)
    with pytest.raises(UserError, match=r"short\.mp4: expected at least 2 frames, got 1"):
        look(path, least_frames=2)


def test_a_playlist_under_the_name_of_a_video_opens_nothing(tmp_path, frames):
    write(tmp_path / "real.mp4", frames)
    listed = tmp_path / "listed.mp4"
    listed.write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'real.mp4'}'\n")
    with pytest.raises(UserError, match="expected an MP4 video"):
        read_video(listed)
