"""Still pictures of stored videos: the first frame, by either decoder, kept, and none of damage."""

import numpy as np
import pytest
from PIL import Image

from rcm_bench import posters
from rcm_bench.media import encode
from rcm_bench.posters import poster_of
from rcm_bench.types import Media


@pytest.fixture
def video(tmp_path):
    """A run's video whose first frame is of one colour and whose others are of another."""
    colours = np.random.default_rng().integers(40, 216, (2, 3), dtype=np.uint8)
    frames = np.empty((5, 48, 64, 3), dtype=np.uint8)
    frames[:1], frames[1:] = colours[0], colours[1]
    path = tmp_path / "blobs" / "ab" / "abcd.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(Media(array=frames, nfe=1, fps=8.0)))
    return path, colours[0].astype(float)


@pytest.mark.parametrize("decoder", ["av", None])
def test_the_first_frame_by_either_decoder(video, monkeypatch, decoder):
    path, colour = video
    if decoder is None:
        monkeypatch.setattr(posters, "find_spec", lambda name: None)
    else:
        pytest.importorskip(decoder)
    made = poster_of(path)
    assert made == path.parents[2] / "posters" / "abcd.webp"
    with Image.open(made) as image:
        assert image.size == (64, 48)
        mean = np.asarray(image.convert("RGB")).astype(float).mean((0, 1))
    assert np.abs(mean - colour).max() < 12, "4:2:0 and WebP round, no more"


def test_it_is_made_once(video):
    path, _ = video
    made = poster_of(path)
    path.unlink()
    assert poster_of(path) == made


@pytest.mark.parametrize("decoder", ["av", None])
def test_a_damaged_video_has_none(video, monkeypatch, decoder):
    if decoder is None:
        monkeypatch.setattr(posters, "find_spec", lambda name: None)
    path, _ = video
    path.write_bytes(path.read_bytes()[:200])
    assert poster_of(path) is None
    path.write_bytes(b"no video")
    assert poster_of(path) is None
    assert not (path.parents[2] / "posters").exists()


def test_a_file_that_is_no_runs_has_none(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"")
    assert poster_of(tmp_path / "v.mp4") is None
