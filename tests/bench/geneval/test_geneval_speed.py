"""The measurement of speed measures something: everything is found, named and judged."""

import pytest
from tiny_clip import NAME, tiny_clip
from tiny_mask2former import tiny_model

from rcm_bench import geneval_colours, geneval_speed
from rcm_bench.detectors.mask2former import Mask2Former
from rcm_bench.geneval_colours import Colours
from rcm_bench.scorers.geneval import Models


@pytest.mark.slow
def test_nothing_is_left_out_of_the_time(monkeypatch, tmp_path):
    import open_clip

    monkeypatch.setattr(geneval_colours, "MODEL", NAME)
    monkeypatch.setattr("rcm_bench.detectors.mask2former.LONG_SIDE", 96)
    monkeypatch.setattr("rcm_bench.detectors.mask2former.SHORT_SIDE", 96)
    clip = tiny_clip(tmp_path)
    _, _, transform = open_clip.create_model_and_transforms(NAME, pretrained=None)
    colours = Colours(clip, transform, open_clip.get_tokenizer(NAME), "cpu")
    network = geneval_speed.found_everywhere(tiny_model(0))
    models = Models(Mask2Former(network, "cpu"), colours, 0.0)
    monkeypatch.setattr(geneval_speed, "references", _coloured_ones(geneval_speed.references))
    found = geneval_speed.measure(models, 12, 64, "cpu")
    whole, alone = found["whole_pass"], found["parts_ms_per_image"]
    assert whole["images"] == whole["scored"] == 12 and whole["seconds"] > 0
    assert whole["objects_per_image"] == 12  # as many as the tiny network has queries
    assert whole["colours_named"] == 12
    assert set(alone) == {
        *("read_one_thread", "to_device", "preprocess", "network", "postprocess"),
        *("detector_whole", "crops_one_thread", "clip", "rules"),
    }
    assert all(value >= 0 for value in alone.values()) and alone["network"] > 0


def _coloured_ones(real):
    """Ask every image for a red bicycle, which the wrapped network finds in all of them."""
    from dataclasses import replace

    record = {"tag": "colors", "include": [{"class": "bicycle", "count": 1, "color": "red"}],
              "prompt": "a photo of a red bicycle"}  # fmt: skip
    return lambda paths: [
        replace(ref, prompt=record["prompt"], task="colors", metadata=record) for ref in real(paths)
    ]


def test_a_pass_has_2212_images():
    with pytest.raises(ValueError, match="a pass has 2212 images, got 2213"):
        geneval_speed.measure(None, 2213, 64, "cpu")
