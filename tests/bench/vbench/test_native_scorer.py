"""The native scorer: one reading of each video, one score a dimension, reasons where none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcm_bench import video
from rcm_bench.scorers.vbench_native import NOT_ASKED, Scorer
from rcm_bench.types import SampleRef
from rcm_bench.vbench.native import networks
from rcm_bench.vbench.presets import PRESETS

av = pytest.importorskip("av", reason="reading videos needs PyAV: pip install 'rcm-bench[vbench]'")

FILTERED = next(name for name, preset in PRESETS.items() if preset.static_filter)
UNFILTERED = next(name for name, preset in PRESETS.items() if not preset.static_filter)


def sample(
    path: Path, frames: np.ndarray, *dimensions: str, preset: str = FILTERED, seed_index: int = 0
) -> SampleRef:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=16, options={"qp": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    known: dict[str, Any] = {
        "dimensions": list(dimensions),
        "preset": preset,
        "auxiliary_info": {"appearance_style": {"appearance_style": "oil painting"}},
    }
    return SampleRef(
        sample_key=path.stem,
        item_id=path.stem,
        digest=path.stem,
        path=path,
        prompt="a boat",
        task="+".join(dimensions),
        metadata={"vbench": known},
        seed_index=seed_index,
    )


def grey(*levels: int, side: int = 128) -> np.ndarray:
    frames = np.array(levels, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(frames, (len(levels), side, side, 3)).copy()


class Still:
    """Stands for RAFT where nothing moves."""

    def magnitudes(self, frames, pairs, top):
        return [0.0] * len(pairs)


class Clip:
    """Stands for CLIP: features are the mean colour and 1; every text is the last axis."""

    logit_scale = torch.tensor(100.0).log()

    def __init__(self) -> None:
        self.visual = torch.nn.Module()
        self.visual.conv1 = torch.nn.Conv2d(1, 1, 1)
        self.texts: list[int] = []

    def encode_image(self, pixels):
        return torch.nn.functional.pad(pixels.mean((2, 3)), (0, 1), value=1.0)

    def encode_text(self, tokens):
        self.texts.append(len(tokens))
        return torch.tensor([[0.0, 0.0, 0.0, 2.0]])


@pytest.fixture
def reads(monkeypatch):
    paths: list[Path] = []
    real = video.read_video

    def counted(path, least_frames=1):
        paths.append(path)
        return real(path, least_frames)

    monkeypatch.setattr(video, "read_video", counted)
    monkeypatch.setattr(networks, "load_flow", lambda files, device: Still())
    return paths


def test_a_video_is_read_once_for_all_its_dimensions(tmp_path, reads):
    scorer = Scorer(dimensions=("temporal_flickering", "dynamic_degree"))
    ref = sample(tmp_path / "a.mp4", grey(100, 110, 100), *scorer.dimensions)
    flicker, degree = scorer([ref])
    assert len(reads) == 1
    assert flicker.metric == "temporal_flickering"
    # Grey levels survive the codec to about a level.
    assert flicker.value == pytest.approx((255 - 10) / 255, abs=2 / 255)
    assert flicker.details == {"numerator": flicker.value, "denominator": 1, "static": True}
    # 3 frames at 16 fps are 2 after subsampling, where VBench calls any video dynamic.
    assert (degree.metric, degree.value) == ("dynamic_degree", 1.0)


@pytest.fixture
def filtered(monkeypatch):
    """Count the videos that flow is computed for; those with an even number stand still."""
    asked: list[int] = []

    def judged(video, networks):
        asked.append(int(video.frames[0, 0, 0, 0] / 10 + 0.5))
        return asked[-1] % 2 == 0

    monkeypatch.setattr("rcm_bench.vbench.native.evaluate.static", judged)
    return asked


def test_no_flow_is_computed_after_five_static_videos_of_a_prompt(tmp_path, reads, filtered):
    scorer = Scorer(dimensions=("temporal_flickering",))
    refs = [
        sample(tmp_path / f"{i}.mp4", grey(10 * i, 10 * i), "temporal_flickering", seed_index=i)
        for i in range(25)
    ]
    made = {int(score.sample_digest): score for score in scorer(refs)}
    # In the order of text 0, 1, 10, 11, ..., the fifth even one is 16.
    assert filtered == [0, 1, *range(10, 17)]
    assert [i for i in range(25) if made[i].details["static"] is True] == [0, 10, 12, 14, 16]
    assert made[2].details["static"] == NOT_ASKED and made[2].value is not None
    # One file less: which of the others it equals is not known, so all are asked.
    filtered.clear()
    list(scorer(refs[:-1]))
    assert len(filtered) == 24


def test_without_the_static_filter_nothing_is_said_of_it(tmp_path, reads):
    scorer = Scorer(dimensions=("temporal_flickering",))
    ref = sample(tmp_path / "a.mp4", grey(1, 2), "temporal_flickering", preset=UNFILTERED)
    (score,) = scorer([ref])
    assert "static" not in score.details
    (custom,) = Scorer(dimensions=("temporal_flickering",), mode="custom_input")([ref])
    assert "static" not in custom.details and custom.value == score.value


def test_style_is_weighted_by_frames_and_its_text_encoded_once(tmp_path, reads, monkeypatch):
    pytest.importorskip("open_clip", reason="needs open_clip")
    clip = Clip()
    monkeypatch.setattr(networks, "load_clip", lambda files, name, device: clip)
    scorer = Scorer(dimensions=("appearance_style", "background_consistency"))
    refs = [
        sample(tmp_path / f"{name}.mp4", grey(*levels), *scorer.dimensions)
        for name, levels in (("a", (0, 0, 0)), ("b", (255, 255)))
    ]
    style, background, *_ = scorer(refs)
    black = -torch.tensor([0.48145466, 0.4578275, 0.40821073]) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    expected = float(1 / (1 + black.square().sum()).sqrt())
    assert style.value == pytest.approx(expected, abs=0.02)
    assert style.details["denominator"] == 3 and background.details["denominator"] == 2
    assert background.value == pytest.approx(1.0, abs=1e-6)
    assert clip.texts == [1]


def test_what_cannot_be_scored_has_a_reason_and_spoils_no_other(tmp_path, reads):
    dimensions = ("temporal_flickering", "dynamic_degree")
    scorer = Scorer(dimensions=dimensions)
    short = sample(tmp_path / "short.mp4", grey(9), *dimensions)
    small = sample(tmp_path / "small.mp4", grey(9, 9, side=64), *dimensions)
    hurt = sample(tmp_path / "hurt.mp4", grey(9, 9), *dimensions)
    hurt.path.write_bytes(hurt.path.read_bytes()[:500])
    other = sample(tmp_path / "other.mp4", grey(9, 9), "scene")
    good = sample(tmp_path / "good.mp4", grey(9, 9), *dimensions)
    made = {(s.sample_digest, s.metric): s for s in scorer([short, small, hurt, other, good])}
    assert made["short", "temporal_flickering"].reason == (
        "short.mp4: expected at least 2 frames, got 1"
    )
    assert made["short", "dynamic_degree"].value == 0.0
    assert made["small", "dynamic_degree"].reason == (
        "small.mp4: expected at least 128 px a side for optical flow, got 64x64"
    )
    assert "hurt.mp4" in str(made["hurt", "dynamic_degree"].reason)
    assert made["other", "temporal_flickering"].reason == "the prompt is for other dimensions"
    assert made["good", "temporal_flickering"].value == 1.0
    assert all((s.value is None) == (s.reason is not None) for s in made.values())


def test_settings_name_the_digests_and_check_holds_the_files_to_them(tmp_path):
    from rcm_bench.errors import UserError

    scorer = Scorer(dimensions=("imaging_quality", "appearance_style"), folder=tmp_path)
    weights = scorer.settings()["weights"]
    assert weights["pyiqa_model/musiq_spaq_ckpt-358bb6af.pth"] == "not named"
    assert weights["clip_model/ViT-B-32.pt"].startswith("40d365715913")
    with pytest.raises(UserError, match=r"ViT-B-32\.pt: cannot be read"):
        scorer.check()
