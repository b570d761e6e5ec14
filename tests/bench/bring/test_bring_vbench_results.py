"""VBench's result files as scores: dimensions and totals with intervals, nothing missing lost."""

import json

import numpy as np
import pytest

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.statistics.vbench_dimensions import GROUPS, NAMES, totals
from rcm_bench.vbench import prompts

SUITE = """\
suite: results
models:
  teacher: {kind: results, role: teacher, layout: vbench, file: teacher, steps: [50]}
  student: {kind: results, layout: vbench, file: "student/{steps}_eval_results.json"}
samplers: {not-recorded: {kind: elsewhere}}
steps: [4]
prompts: {set: vbench, info: info.json, preset: five-unfiltered}
benchmarks: {vbench: {results: {scorer: vbench 0.1.5}}}
"""
PER_GROUP = 5
BOOLEAN = ("dynamic_degree", "human_action")


def info_rows():
    return [
        {"prompt_en": f"{names[0]} number {i}", "dimension": list(names)}
        for _, names in GROUPS
        for i in range(PER_GROUP)
    ]


def results_of(rng, drop=()):
    """Return VBench's results of all its dimensions, and the raw dimensions by hand."""
    found, raw = {}, []
    for name in NAMES:
        videos, top, bottom = [], 0.0, 0.0
        for row in info_rows():
            if name not in row["dimension"]:
                continue
            for k in range(5):
                if (name, row["prompt_en"], k) in drop:
                    continue
                video = {"video_path": f"/v/{row['prompt_en']}-{k}.mp4"}
                if name in ("object_class", "multiple_objects", "color", "scene"):
                    right, frames = int(rng.integers(0, 9)), int(rng.integers(9, 17))
                    video |= {"success_frame_count": right, "frame_count": frames}
                    video["video_results"] = right / frames
                    top, bottom = top + right, bottom + frames
                else:
                    value = float(rng.random() < 0.5) if name in BOOLEAN else float(rng.random())
                    video["video_results"] = bool(value) if name in BOOLEAN else value
                    scale = 0.01 if name == "imaging_quality" else 1
                    video["video_results"] = (
                        value / scale if name == "imaging_quality" else video["video_results"]
                    )
                    top, bottom = top + value, bottom + 1
                videos.append(video)
        found[name] = [top / bottom, videos]
        raw.append(top / bottom)
    return found, np.array(raw)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Write results of a teacher, a file for each dimension, and of a student in one."""
    info = tmp_path / "info.json"
    info.write_text(json.dumps(info_rows()))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(info))
    rng = np.random.default_rng()
    (tmp_path / "teacher").mkdir()
    (tmp_path / "student").mkdir()
    found, raw = results_of(rng)
    for name, entry in found.items():
        path = tmp_path / f"teacher/{name}_eval_results.json"
        path.write_text(json.dumps({name: entry}))
    suite = tmp_path / "results.yaml"
    suite.write_text(SUITE)
    own, raw_student = results_of(rng)
    write(tmp_path, own)
    return suite, {"teacher": raw, "student": raw_student}, own


def write(tmp_path, results):
    (tmp_path / "student/4_eval_results.json").write_text(json.dumps(results))


def numbers(outcome, model):
    table = outcome.measurements
    return table[table["model"] == model].set_index("metric")


def test_dimensions_and_totals_come_with_intervals(results, tmp_path):
    """An aggregate that its videos do not give is told, and changes nothing."""
    suite, raw, own = results
    own["human_action"][0] += 0.1
    write(tmp_path, own)
    outcome = rcm_bench.run(str(suite), tmp_path / "out")
    assert outcome.whole and outcome.done
    said = "student at 4 steps, as brought: human_action: aggregate "
    assert any(remark.startswith(said) for remark in outcome.remarks)
    for model, expected in raw.items():
        own = numbers(outcome, model)
        for name, value in zip(NAMES, expected, strict=True):
            assert own.loc[name, "value"] == pytest.approx(value, rel=1e-9), name
        for name, value in totals(expected).items():
            assert own.loc[name, "value"] == pytest.approx(float(value), rel=1e-9), name
            assert own.loc[name, "low"] < value < own.loc[name, "high"]
    paired = (tmp_path / "out/tables/paired.csv").read_text()
    assert "vbench,total,student" in paired and "not verified: protocol not recorded" in paired
    protocol = json.loads((tmp_path / "out/manifest.json").read_text())["protocol"]
    assert (protocol["seeds"], protocol["rewriting"]) == ("not recorded", "not recorded")
    assert not {"seeds", "rewriting"} & protocol["prompts"].keys(), "a preset's are not theirs"


def test_a_missing_video_is_refused_and_a_missing_dimension_takes_the_total_along(
    results, tmp_path
):
    suite, _, own = results
    del own["scene"]
    write(tmp_path, own)
    with pytest.raises(UserError, match="at 4 steps: no scores of scene. Leave them out under"):
        rcm_bench.plan(str(suite))
    gone = own["human_action"][1].pop()
    write(tmp_path, own)
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(suite))
    prompt = gone["video_path"].split("/")[-1].removesuffix("-4.mp4")
    assert "human_action: no score of 1: prompt " in str(caught.value)
    assert f"'{prompt}' number 4" in str(caught.value)
    own["human_action"][1].append(gone)
    write(tmp_path, own)
    suite.write_text(SUITE.replace('results.json"', 'results.json", incomplete: true'))
    outcome = rcm_bench.run(str(suite), tmp_path / "out")
    found = numbers(outcome, "student")
    assert found.loc[["total", "semantic", "scene"], "value"].isna().all()
    assert found.loc["total", "method"] == "no total: no score for 25 videos in scene"
    assert found.loc["quality", "value"] > 0
    assert numbers(outcome, "teacher").loc["total", "value"] > 0


def test_what_vbench_leaves_out_is_told_by_its_own_list(results, tmp_path):
    """Without the list of the videos that it found, a video without an object is missing."""
    suite, _, _ = results
    drop = {("color", "color number 0", 1)}
    own, raw = results_of(np.random.default_rng(), drop)
    write(tmp_path, own)
    with pytest.raises(
        UserError, match="(?s)color: no score of 1: prompt .*_full_info.json beside .* tells these"
    ):
        rcm_bench.plan(str(suite))
    listed = [
        {**row, "video_list": [f"/v/{row['prompt_en']}-{k}.mp4" for k in range(5)]}
        for row in info_rows()
    ]
    (tmp_path / "student/4_full_info.json").write_text(json.dumps(listed))
    found = numbers(rcm_bench.run(str(suite), tmp_path / "out"), "student")
    assert found.loc["color", "n_samples"] == 24
    assert found.loc["total", "value"] == pytest.approx(float(totals(raw)["total"]), rel=1e-9)


def test_static_videos_stand_under_five_numbers(results, tmp_path):
    """25 videos of each prompt are planned; the five static ones of the results are all."""
    suite, raw, _ = results
    suite.write_text(SUITE.replace(", preset: five-unfiltered", ""))
    found = numbers(rcm_bench.run(str(suite), tmp_path / "out"), "student")
    place = NAMES.index("temporal_flickering")
    assert found.loc["temporal_flickering", "value"] == pytest.approx(raw["student"][place])
    assert tuple(found.loc["temporal_flickering", ["n_samples", "n_missing"]]) == (25, 0)
    assert found.loc["total", "value"] == pytest.approx(float(totals(raw["student"])["total"]))


def test_wrong_files_and_names_are_refused(results, tmp_path):
    suite, _, own = results
    own["scene"][1][3]["video_path"] = "/v/no such prompt-0.mp4"
    own["color"][1][0]["video_path"] = own["color"][1][0]["video_path"].replace("-0.mp4", "-7.mp4")
    write(tmp_path, own)
    twice = tmp_path / "teacher/again_eval_results.json"
    twice.write_text((tmp_path / "teacher/scene_eval_results.json").read_text())
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(suite))
    said = str(caught.value)
    assert "scene: video 'no such prompt-0': is of no prompt of this dimension" in said
    assert "-7': expected numbers from 0 to 4, as the suite asks for" in said
    assert "scene: is in " in said and "keep one of them" in said
