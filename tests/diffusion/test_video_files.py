"""MP4 files: frame rate, number and look of the frames, equal bytes; and what is refused."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rcm_bench import video_files
from rcm_bench.media import encode, flags_of, suffix_of
from rcm_bench.store_blobs import Blobs
from rcm_bench.types import Media
from rcm_bench.video_files import encode_video, ffmpeg


def video(frames=9, height=48, width=64):
    """A smooth moving gradient with a little noise."""
    rng = np.random.default_rng()
    t, y, x = np.mgrid[:frames, :height, :width]
    planes = [np.sin((x + 3 * t) / 9), np.cos((y - 2 * t) / 7), np.sin((x + y + t) / 11)]
    array = 127 + 100 * np.stack(planes, -1) + rng.normal(0, 2, (frames, height, width, 3))
    return array.clip(0, 255).astype(np.uint8)


def read(path, shape):
    command = [ffmpeg(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(shape)


@pytest.mark.parametrize("fps", [8.0, 16.0, 24.0, 29.97])
def test_rate_frames_and_look(fps, tmp_path):
    array = video()
    data = encode(Media(array=array, nfe=1, fps=fps))
    assert suffix_of(data) == ".mp4"
    (name,) = Blobs(tmp_path).put([data], suffix_of)
    path = Blobs(tmp_path).path(name)
    got = read(path, array.shape)
    error = np.square(got.astype(float) - array).mean()
    assert 10 * np.log10(255**2 / error) > 32
    said = subprocess.run([ffmpeg(), "-i", str(path)], capture_output=True).stderr.decode()
    assert f"{fps:g} fps" in said and "64x48" in said and "yuv420p" in said and "h264" in said


def test_equal_frames_give_equal_bytes():
    array = video()
    media = Media(array=array, nfe=1, fps=16.0)
    assert encode_video(media) == encode_video(media)
    array = array.copy()
    array[4] = 255 - array[4]
    assert encode_video(Media(array=array, nfe=1, fps=16.0)) != encode_video(media)


def test_an_exact_rate_is_kept(tmp_path):
    """VBench reads the rate; 16 must not come out as 15.99."""
    path = tmp_path / "a.mp4"
    path.write_bytes(encode_video(Media(array=video(17), nfe=1, fps=16.0)))
    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    try:
        said = subprocess.run(probe, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no ffprobe on this machine")
    (stream,) = json.loads(said)["streams"]
    assert stream["r_frame_rate"] == "16/1" and stream["nb_frames"] == "17"


@pytest.mark.parametrize(("media", "said"), [
    (Media(array=video(5, 47, 64), nfe=1, fps=16.0), "even sides, as yuv420p needs, got 47x64"),
    (Media(array=video(5), nfe=1), "frame rate above 0, got None"),
    (Media(array=video(5).astype(np.float32), nfe=1, fps=16.0), "dtype uint8"),
    (Media(array=video(5)[..., :1], nfe=1, fps=16.0), r"shape \(T, H, W, 3\)"),
])  # fmt: skip
def test_refused(media, said):
    with pytest.raises(ValueError, match=said):
        encode_video(media)


def test_a_frozen_video_is_flagged():
    still = np.repeat(video(1), 9, 0)
    assert flags_of(Media(array=still, nfe=1, fps=16.0)) == ["frozen"]
    assert flags_of(Media(array=video(), nfe=1, fps=16.0)) == []
    assert "one_colour" in flags_of(Media(array=still * 0, nfe=1, fps=16.0))


def programs():
    """Return what this process has started and not waited for, as (pid, group, niceness)."""
    task = Path(f"/proc/{os.getpid()}/task")
    pids = [int(p) for t in task.iterdir() for p in (t / "children").read_text().split()]
    return [(p, os.getpgid(p), os.getpriority(os.PRIO_PROCESS, p)) for p in pids]


def test_an_encoder_gives_way_and_an_interrupt_does_not_end_it(monkeypatch):
    """Ctrl-C goes to all of the terminal's foreground group: a sample was lost by it."""
    seen, real = [], os.setpriority

    def spy(*given):
        real(*given)
        seen.extend(programs())

    monkeypatch.setattr(os, "setpriority", spy)
    assert encode_video(Media(array=video(), nfe=1, fps=16.0))
    ((pid, group, niceness),) = seen
    assert group == pid != os.getpgid(0)
    assert niceness == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)


def test_an_encoder_that_ends_before_it_has_read_all_says_why(monkeypatch):
    frames = video(41, 240, 320)  # more than a pipe holds
    monkeypatch.setattr(video_files, "_ENCODER", ["-c:v", "libx265_or_so"])
    with pytest.raises(RuntimeError, match=r"ffmpeg ended with code \d+: .*libx265_or_so"):
        encode_video(Media(array=frames, nfe=1, fps=16.0))
