"""VBench-I2V's images as a model's first frames: one for each prompt, of the videos' size."""

import json

import numpy as np
import pytest
from PIL import Image

from rcm_bench.canonical import file_digest
from rcm_bench.diffusion.images import Images
from rcm_bench.errors import UserError
from rcm_bench.prompt_sets import _records
from rcm_bench.vbench import prompts
from rcm_bench.vbench.__main__ import main
from rcm_bench.vbench.dimensions import I2V_GROUPS
from rcm_bench.vbench.first_frames import write_first_frames
from rcm_bench.vbench.presets import I2V_PRESETS
from rcm_bench.vbench.prompts import read_i2v_rows, vbench_metadata

NAMES = ("a.jpg", "b.jpg", "a.jpg")
SIZE = (16, 32)


@pytest.fixture
def info(tmp_path, monkeypatch):
    groups = [list(names) for _, names in I2V_GROUPS]
    rows = [
        {"prompt_en": f"prompt {i}", "dimension": groups[i], "image_name": name}
        for i, name in enumerate(NAMES)
    ]
    path = tmp_path / "i2v.json"
    path.write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(path))
    crops = tmp_path / "images" / "crop" / "16-9"
    crops.mkdir(parents=True)
    for name, shade in (("a.jpg", 40), ("b.jpg", 200)):
        pixels = np.full((90, 160, 3), shade, dtype=np.uint8)
        pixels[:4] = pixels[-4:] = 128  # cut away: 2 to 1 is flatter than 16 to 9
        Image.fromarray(pixels).save(crops / name, quality=100)
    monkeypatch.setenv("RCM_BENCH_I2V_IMAGES", str(tmp_path / "images"))
    return path


def test_a_model_finds_the_image_of_every_prompt(info, tmp_path, capsys):
    out = tmp_path / "frames"
    given = ["--info", str(info), "--aspect", "16-9", "--size", *map(str, SIZE), "--out", str(out)]
    assert main(["first-frames", *given]) == 0
    assert "3 images in" in capsys.readouterr().out
    records = vbench_metadata(read_i2v_rows(info), "vbench-i2v", I2V_PRESETS["vbench-i2v"])
    ids = [prompt.prompt_id for prompt in _records(records, "test")]
    images = Images(folder=out, size=SIZE, place="models.x.image_folder")
    images.check(ids)
    for prompt_id, shade in zip(ids, (40, 200, 40), strict=True):
        assert np.abs(images.read(prompt_id).astype(int) - shade).max() <= 2, "the middle alone"
    assert (out / "00002.png").read_bytes() == (out / "00000.png").read_bytes()


def test_the_prompts_of_some_dimensions_count_from_0_as_in_the_suite(info, tmp_path):
    found = write_first_frames(info, "16-9", SIZE, tmp_path / "frames", ["i2v_background"])
    assert [path.name for path in found] == ["00000.png"]
    with Image.open(found[0]) as image:
        assert abs(image.getpixel((9, 9))[0] - 200) <= 2


def test_what_cannot_be_written_is_refused_by_name(info, tmp_path):
    out = tmp_path / "frames"
    with pytest.raises(UserError, match="unknown VBench dimension 'i2v_subjekt'.*'i2v_subject'"):
        write_first_frames(info, "16-9", SIZE, out, ["i2v_subjekt"])
    with pytest.raises(UserError, match=r"1-1: lacks 2 of VBench-I2V's 2 images \('a.jpg', 'b."):
        write_first_frames(info, "1-1", SIZE, out)
    with pytest.raises(UserError, match=r"expected a height and a width from 1 on, got \(0, 32\)"):
        write_first_frames(info, "16-9", (0, 32), out)
    assert not out.exists()
    whole = (tmp_path / "images/crop/16-9/b.jpg").read_bytes()
    (tmp_path / "images/crop/16-9/b.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"b.jpg: not a whole image"):
        write_first_frames(info, "16-9", SIZE, out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.png").write_bytes(whole)
    with pytest.raises(UserError, match="frames: expected a new or an empty folder"):
        write_first_frames(info, "16-9", SIZE, out)
