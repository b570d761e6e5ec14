"""Features of videos: uniformly spaced frames, their mean, and motion apart."""

import numpy as np
import pytest
from PIL import Image

from rcm_bench.features.pixels import Settings as PixelSettings
from rcm_bench.scorers.features import Scorer, spaced_frames
from rcm_bench.types import SampleRef

av = pytest.importorskip("av")


def write(path, frames):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.options = {"crf": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def grey(level):
    return np.full((32, 32, 3), level, dtype=np.uint8)


def score(path):
    ref = SampleRef(sample_key="k", item_id="i", digest=path.name, path=path, prompt="p", task="t")
    (made,) = Scorer(kind="pixels", features=PixelSettings(size=2), frames=3)([ref])
    return made


def test_frames_are_spaced_with_both_ends(tmp_path):
    path = write(tmp_path / "ramp.mp4", [grey(20 * k) for k in range(11)])
    found = spaced_frames(path, 3).mean((1, 2, 3))
    np.testing.assert_allclose(found, [0, 100, 200], atol=4)
    assert len(spaced_frames(path, 50)) == 11


def test_motion_is_apart_from_the_features(tmp_path):
    still = score(write(tmp_path / "still.mp4", [grey(100)] * 6))
    moving = score(write(tmp_path / "moving.mp4", [grey(50), grey(100), grey(150)]))
    assert still.details["motion"] == pytest.approx(0, abs=1e-6)
    # Two steps of 50 / 255 each, in mean squared error.
    assert moving.details["motion"] == pytest.approx((50 / 255) ** 2, rel=0.1)
    np.testing.assert_allclose(still.features, moving.features, atol=0.01)
    assert (still.value, moving.value) == (3, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_is_one_frame_without_motion(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(grey(100)).save(path)
    made = score(path)
    assert made.value == 1 and made.details == {}
    np.testing.assert_allclose(made.features * 12**0.5, 100 / 255, atol=0.01)
