"""Folders in VBench's layout: counted, scored by the stand-in, totals, result files."""

import json
import struct
from functools import cache

import numpy as np
import pytest
from PIL import Image
from vbench_stand_in import share

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, NAMES, totals
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS, i2v_totals
from rcm_bench.types import Media
from rcm_bench.vbench import environment, prompts
from rcm_bench.vbench.__main__ import main
from rcm_bench.vbench.dimensions import CUSTOM, I2V
from rcm_bench.vbench.folder import Asked, score_folder
from rcm_bench.vbench.results import DimensionResult, read_info, read_results
from rcm_bench.vbench.summary import normalised, summarise
from rcm_bench.video_files import encode_video

PRESET = "five-unfiltered"
I2V_ROWS = [
    {"prompt_en": "a person walks", "image_name": "a.jpg", "image_type": "single-human",
     "dimension": ["i2v_subject", "subject_consistency", "motion_smoothness", "dynamic_degree",
                   "aesthetic_quality", "imaging_quality", "temporal_flickering"]},
    {"prompt_en": "a field", "image_name": "b.jpg", "image_type": "scenery",
     "dimension": ["i2v_background", "background_consistency", "aesthetic_quality",
                   "imaging_quality", "temporal_flickering"]},
    {"prompt_en": "a field, camera pans left", "image_name": "b.jpg", "image_type": "scenery",
     "dimension": ["camera_motion"]},
]  # fmt: skip


@cache
def clip(frames=2, side=16, fps=8.0):
    """A small video of one colour."""
    array = np.full((frames, side, side, 3), 90, dtype=np.uint8)
    return encode_video(Media(array=array, nfe=0, fps=fps))


def a_video(rng):
    """The same video with other bytes behind it, which no reader looks at."""
    return clip() + struct.pack(">I4s", 8 + 32, b"free") + rng.randbytes(32)


def make_folder(folder, texts, rng, num=5):
    """Write videos; the first of each text is one that the stand-in's colour does not leave out."""
    folder.mkdir()
    for text in texts:
        for i in range(num):
            path = folder / f"{text}-{i}.mp4"
            path.write_bytes(a_video(rng))
            while i == 0 and share(path) <= 0.25:
                path.write_bytes(a_video(rng))
    return folder


@pytest.fixture
def standard(tmp_path, monkeypatch, built, rng):
    """One prompt of each group, and a whole folder of their videos."""
    rows = [{"prompt_en": f"{names[0]}, one", "dimension": list(names),
             "auxiliary_info": {n: {n: "x"} for n in names}} for _, names in GROUPS]  # fmt: skip
    path = tmp_path / "info.json"
    path.write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(path))
    folder = make_folder(tmp_path / "videos", [row["prompt_en"] for row in rows], rng)
    return folder, Asked(preset=PRESET, info=path, device="cpu", hours=0.1)


def test_a_whole_folder_gives_totals_and_the_archive(standard, tmp_path):
    folder, asked = standard
    seen = []
    scored = score_folder(folder, tmp_path / "out", asked, seen.append)
    assert not scored.failures and list(scored.results) == list(NAMES)
    raw = np.array([scored.results[n].aggregate for n in NAMES])
    for name, value in totals(raw).items():
        assert scored.totals[name].value == pytest.approx(float(value), rel=1e-12)
    assert [p.name for p in scored.files] == [
        "vbench_eval_results.json", "vbench_full_info.json", "vbench.zip"]  # fmt: skip
    assert read_results(scored.files[0]) == scored.results
    info = read_info(scored.files[1])
    assert len(info) == 11 and all(len(row.videos) == 5 for row in info)
    first = [path.read_bytes() for path in scored.files]
    again = score_folder(folder, tmp_path / "out", asked, seen.append)
    assert [o.reused for o in seen] == [False] * 16 + [True] * 16
    assert [path.read_bytes() for path in again.files] == first


def test_a_folder_that_lacks_or_holds_more_is_refused_by_name(standard, tmp_path):
    folder, asked = standard
    gone = folder / "scene, one-3.mp4"
    data = gone.read_bytes()
    gone.unlink()
    with pytest.raises(UserError, match=r"1 of 55 videos are missing \('scene, one-3'\)"):
        score_folder(folder, tmp_path / "out", asked)
    (folder / "scene, one-7.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"1 videos are not of this set \('scene, one-7'\)"):
        score_folder(folder, tmp_path / "out", asked)
    (folder / "scene, one-7.mp4").rename(folder / "Scene, one-3.mp4")
    with pytest.raises(UserError, match=r"missing .*'scene, one-3'.* not of this set .*'Scene, o"):
        score_folder(folder, tmp_path / "out", asked)
    (folder / "Scene, one-3.mp4").unlink()
    (folder / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes.txt: expected videos .* and nothing else"):
        score_folder(folder, tmp_path / "out", asked)
    (folder / "notes.txt").unlink()
    gone.write_bytes(data)
    with pytest.raises(UserError, match="none: no such folder"):
        score_folder(tmp_path / "none", tmp_path / "out", asked)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: expected videos, got an empty folder"):
        score_folder(tmp_path / "empty", tmp_path / "out", asked)


def test_videos_that_cannot_be_scored_are_all_named_before_anything_runs(standard, tmp_path):
    folder, asked = standard
    bad = {
        "scene, one-0.mp4": (b"", "the file is empty"),
        "scene, one-1.mp4": (clip()[: len(clip()) // 2], "expected an MP4 video; damaged or"),
        "scene, one-2.mp4": (clip(1), "expected at least 2 frames, got 1"),
        "scene, one-3.mp4": (clip(side=32), "32x32 px, 2 frames at 8 per second, while 49 of"),
        "scene, one-4.mp4": (b"hello", "neither a PNG or JPEG image nor an MP4 video"),
        "color, one-0.mp4": (clip(fps=16.0), "16x16 px, 2 frames at 16 per second, while 49 of"),
    }
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        score_folder(folder, tmp_path / "out", asked)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(bad) and not (tmp_path / "out").exists()
    for name, (_, why) in bad.items():
        assert any(f"{name}: {why}" in line for line in lines), (name, lines)
    kind = {"kind": "custom_input", "dimensions": ("human_action",), "info": None}
    for name in ("scene, one-0.mp4", "scene, one-1.mp4", "scene, one-2.mp4", "scene, one-4.mp4"):
        (folder / name).unlink()
    mixed = score_folder(folder, tmp_path / "out", Asked(**{**as_dict(asked), **kind}))
    assert not mixed.failures, "videos of any prompts may differ in size"


def test_animations_are_read_whole_too(built, tmp_path):
    frames = [Image.new("L", (16, 16), shade) for shade in (0, 90)]
    folder = tmp_path / "videos"
    folder.mkdir()
    frames[0].save(folder / "a-0.gif", save_all=True, append_images=frames[1:])
    asked = Asked(kind="custom_input", dimensions=("human_action",), device="cpu", hours=0.1)
    assert not score_folder(folder, tmp_path / "out", asked).failures
    frames[0].save(folder / "b-0.gif")
    (folder / "c-0.gif").write_bytes(b"GIF89a")
    (folder / "d-0.gif").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        score_folder(folder, tmp_path / "out", asked)
    said = str(caught.value).splitlines()
    assert ["b-0.gif: expected at least 2 frames, got 1" in said[0], "c-0.gif: not a whole GIF" in
            said[1], "d-0.gif: the file is empty" in said[2]] == [True] * 3  # fmt: skip


def as_dict(asked):
    return {name: getattr(asked, name) for name in asked.__dataclass_fields__}


def test_an_incomplete_folder_only_where_asked_and_without_an_archive(standard, tmp_path):
    folder, asked = standard
    (folder / "scene, one-3.mp4").unlink()
    accepted = Asked(**{**as_dict(asked), "incomplete": True})
    scored = score_folder(folder, tmp_path / "out", accepted)
    assert len(scored.results["scene"].videos) == 4
    assert [p.name for p in scored.files] == ["vbench_eval_results.json", "vbench_full_info.json"]


def test_a_failed_dimension_makes_the_total_missing(standard, tmp_path, capsys):
    folder, asked = standard
    (environment.weights_folder() / "caption_model" / "tag2text_swin_14m.pth").unlink()
    scored = score_folder(folder, tmp_path / "out", asked)
    assert "no weights at" in scored.failures["scene"]
    assert (scored.totals["total"].value, scored.totals["total"].reason) == (
        None, "no result of scene")  # fmt: skip
    assert scored.totals["semantic"].value is None and scored.totals["quality"].value is not None
    assert not any(path.suffix == ".zip" for path in scored.files)
    given = [str(folder), "--out", str(tmp_path / "out"), "--info", str(asked.info)]
    assert main(["evaluate", *given, "--preset", PRESET, "--device", "cpu"]) == 4
    said = capsys.readouterr()
    assert "Total                    no result of scene" in said.out
    assert "scene                    failed: VBench's scene: no weights at" in said.err


def test_custom_input_takes_names_as_they_are(built, tmp_path, rng):
    folder = make_folder(tmp_path / "videos", ["my own prompt", "another"], rng, 7)
    (folder / "without a number.mp4").write_bytes(a_video(rng))
    scored = score_folder(folder, tmp_path / "out", Asked(kind="custom_input", device="cpu"))
    assert list(scored.results) == list(CUSTOM) and not scored.totals and not scored.failures
    assert {len(result.videos) for result in scored.results.values()} == {15}
    with pytest.raises(UserError, match="scene: unknown dimension of custom_input. Available: sub"):
        score_folder(folder, tmp_path / "out", Asked(kind="custom_input", dimensions=("scene",)))
    with pytest.raises(UserError, match="colour: unknown dimension. Available: "):
        score_folder(folder, tmp_path / "out", Asked(dimensions=("colour",)))
    (folder / "without a number-0.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match="without a number.mp4: is video 0 of 'without a nu"):
        score_folder(folder, tmp_path / "out", Asked(kind="custom_input", device="cpu"))


def test_image_to_video(built, tmp_path, monkeypatch, rng):
    info = tmp_path / "i2v.json"
    info.write_text(json.dumps(I2V_ROWS))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(info))
    folder = make_folder(tmp_path / "videos", [row["prompt_en"] for row in I2V_ROWS], rng)
    with pytest.raises(UserError, match="i2v: needs vbench2_i2v_full_info.json"):
        score_folder(folder, tmp_path / "out", Asked(kind="i2v"))
    crop = tmp_path / "data" / "crop" / "16-9"
    crop.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (crop / name).write_bytes(b"x")
    asked = Asked(kind="i2v", info=info, images=tmp_path / "data", device="cpu")
    scored = score_folder(folder, tmp_path / "out", asked)
    assert set(scored.results) == set(I2V) and not scored.failures
    raw = np.array([scored.results[n].aggregate for n in I2V_DIMENSIONS])
    assert scored.totals["total"].value == pytest.approx(float(i2v_totals(raw)["total"]))
    assert scored.results["camera_motion"].by_type["static"] is None
    assert read_info(scored.files[1])[0].image == "a.jpg"


def test_i2v_totals_by_hand():
    """All at the high end but camera motion and dynamic degree at 0: 2 of 2.1, and 5 of 5.5."""
    raw = np.array([d.high for d in I2V_DIMENSIONS.values()])
    names = list(I2V_DIMENSIONS)
    raw[[names.index("camera_motion"), names.index("dynamic_degree")]] = 0
    found = i2v_totals(raw)
    assert found["i2v"] == pytest.approx(2 / 2.1, rel=1e-12)
    assert found["quality"] == pytest.approx(5 / 5.5, rel=1e-12)
    assert found["total"] == pytest.approx((2 / 2.1 + 5 / 5.5) / 2, rel=1e-12)


def result(name, aggregate):
    return DimensionResult(dimension=name, aggregate=aggregate, videos=())


@pytest.mark.parametrize(("edition", "constants"), [("t2v", DIMENSIONS), ("i2v", I2V_DIMENSIONS)])
def test_each_dimension_alone_by_hand(edition, constants):
    """One at its high end, the rest at their low ends; and each missing one is named."""
    for name, own in constants.items():
        results = {n: result(n, c.high if n == name else c.low) for n, c in constants.items()}
        assert {n: v.value for n, v in normalised(results, edition).items()} == {
            n: float(n == name) for n in constants}  # fmt: skip
        weights = [c.weight for c in constants.values() if c.part == own.part]
        found = summarise(results, edition)
        assert found[own.part].value == pytest.approx(own.weight / sum(weights), rel=1e-12)
        share = {"quality": 0.8, "semantic": 0.2}[own.part] if edition == "t2v" else 0.5
        assert found["total"].value == pytest.approx(share * own.weight / sum(weights), rel=1e-12)
        del results[name]
        found = summarise(results, edition)
        assert found["total"].reason == found[own.part].reason == f"no result of {name}"
        assert normalised(results, edition)[name].reason == f"no result of {name}"


def test_beyond_the_ends_nothing_is_clipped():
    results = {n: result(n, c.high) for n, c in DIMENSIONS.items()}
    results["scene"] = result("scene", 0.9)
    assert normalised(results, "t2v")["scene"].value == pytest.approx(0.9 / 0.8222, rel=1e-12)
    assert summarise(results)["total"].value > 1
