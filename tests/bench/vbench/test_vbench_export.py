"""VBench's own result files out of a run: whole, readable, and the same numbers when brought in."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from vbench_suite import small_info

from rcm_bench.bring.results_vbench import take_vbench
from rcm_bench.canonical import file_digest
from rcm_bench.measured import cells
from rcm_bench.prompt_sets import _records
from rcm_bench.statistics import value_of
from rcm_bench.statistics.vbench_dimensions import NAMES
from rcm_bench.vbench import prompts as files
from rcm_bench.vbench.editions import TEXT
from rcm_bench.vbench.export import write_cells
from rcm_bench.vbench.measures import DROPPED, measure
from rcm_bench.vbench.presets import PRESETS
from rcm_bench.vbench.results import EVAL_SUFFIX, read_info, read_results
from rcm_bench.vbench.summary import summarise

STEM = "vbench_student_few_1"
SHARES, COUNTED = ("dynamic_degree", "human_action"), ("object_class", "multiple_objects", "scene")


@pytest.fixture
def prompts(tmp_path, monkeypatch):
    path = tmp_path / "info.json"
    path.write_text(json.dumps(small_info()))
    monkeypatch.setattr(files, "INFO_SHA256", file_digest(path))
    rows = files.read_rows(path)
    preset = PRESETS["five-unfiltered"]
    return _records(files.vbench_metadata(rows, "five-unfiltered", preset), "test")


def scored(prompts, rng, dropped=()):
    """Samples and scores of one cell: frames are counted where VBench counts them."""
    samples, scores = [], []
    for prompt in prompts:
        for k in range(5):
            item = f"{prompt.prompt_id}-{k}"
            samples.append({"item_id": item, "model": "student", "sampler": "few", "steps": 1,
                            "prompt_id": prompt.prompt_id, "prompt": prompt.text, "status": "ok",
                            "seed_index": k, "task": prompt.task})  # fmt: skip
            for name in prompt.metadata["vbench"]["dimensions"]:
                bottom = int(rng.integers(1, 17))
                top = int(rng.integers(bottom + 1)) if name in COUNTED else bottom * rng.random()
                if name in SHARES:
                    top, bottom = int(rng.integers(2)), 1
                gone = (name, k) in dropped
                scores.append({"item_id": item, "metric": name, "benchmark": "vbench",
                               "value": np.nan if gone else top / bottom,
                               "reason": f"{DROPPED}: why" if gone else None,
                               "details": json.dumps({"numerator": top, "denominator": bottom}),
                               })  # fmt: skip
    return pd.DataFrame(samples), pd.DataFrame(scores)


def write(samples, scores, prompts, out, names=NAMES):
    out.mkdir(exist_ok=True)
    return write_cells(samples, scores, prompts, TEXT, names, "vbench", out)


def test_all_sixteen_as_an_archive_that_comes_back_with_the_same_numbers(prompts, tmp_path):
    rng = np.random.default_rng()
    samples, scores = scored(prompts, rng, {("color", 1), ("color", 4)})
    written = write(samples, scores, prompts, tmp_path / "out")
    assert [p.name for p in written] == [f"{STEM}{EVAL_SUFFIX}", f"{STEM}_full_info.json",
                                         f"{STEM}.zip"]  # fmt: skip
    found = read_results(written[0])
    measured = measure(samples, scores, NAMES)
    own = {n: value_of(cells(m)["student", "few", 1].clusters) for n, m in measured.items()}
    assert list(found) == list(NAMES)
    for name, result in found.items():
        assert result.aggregate == pytest.approx(own[name], rel=1e-12), name
        assert not result.remarks, "its videos must give the aggregate"
    for name, total in summarise(found).items():
        assert total.value == pytest.approx(own[name], rel=1e-9)
    info, rows = read_info(written[1]), small_info()
    assert [row.prompt for row in info] == [row["prompt_en"] for row in rows]
    assert [list(row.dimensions) for row in info] == [row["dimension"] for row in rows]
    assert [dict(row.auxiliary) for row in info] == [r.get("auxiliary_info", {}) for r in rows]
    assert all(row.videos == tuple(f"{row.prompt}-{i}.mp4" for i in range(5)) for row in info)
    with zipfile.ZipFile(written[2]) as packed:
        assert packed.namelist() == [path.name for path in written[:2]]
        assert json.loads(packed.read(packed.namelist()[0])).keys() == set(NAMES)
    taken = take_vbench(written[0], prompts, {p.prompt_id: 5 for p in prompts})
    assert not taken.faults
    sent = {tuple(row) for row in scores[["item_id", "metric", "value"]].dropna().to_numpy()}
    back = {
        (f"{prompt}-{k}", name): score["value"]
        for (prompt, k), each in taken.scores.items()
        for name, score in each.items()
    }
    assert {key for key, value in back.items() if value is not None} == {s[:2] for s in sent}
    for item, name, value in sent:
        assert back[item, name] == pytest.approx(value, rel=1e-12)
    dropped = [key for key, value in back.items() if value is None]
    assert {name for _, name in dropped} == {"color"} and len(dropped) == 2 * 5


def test_what_lacks_a_score_is_in_no_file_and_the_archive_goes(prompts, tmp_path):
    samples, scores = scored(prompts, np.random.default_rng())
    first = [path.read_bytes() for path in write(samples, scores, prompts, tmp_path / "out")]
    again = [path.read_bytes() for path in write(samples, scores, prompts, tmp_path / "out")]
    assert again == first
    lost = scores[scores["metric"] == "scene"].sample(1).index
    written = write(samples, scores.drop(lost), prompts, tmp_path / "out")
    assert set(read_results(written[0])) == set(NAMES) - {"scene"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{STEM}{EVAL_SUFFIX}", f"{STEM}_full_info.json"}  # fmt: skip
    assert not write(samples, scores[:0], prompts, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_pilot_of_fewer_videos_has_files_and_no_archive(prompts, tmp_path):
    samples, scores = scored(prompts, np.random.default_rng())
    few = samples[samples["seed_index"] < 4]
    written = write(few, scores[scores["item_id"].isin(few["item_id"])], prompts, tmp_path / "out")
    assert len(written) == 2 and set(read_results(written[0])) == set(NAMES)


def test_a_subset_has_files_and_no_archive(prompts, tmp_path):
    samples, scores = scored(prompts, np.random.default_rng())
    written = write(samples, scores, prompts, tmp_path / "out", ("color", "scene"))
    assert set(read_results(written[0])) == {"scene", "color"} and len(written) == 2
    groups = {("scene", "background_consistency"), ("color",)}
    assert {row.dimensions for row in read_info(written[1])} == groups
