"""Published numbers beside a run's own: chosen by the suite, as printed, and in no statistic."""

import json

import numpy as np
import pandas as pd
import pytest

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.geneval_results import ResultRow, results_text
from rcm_bench.published import published_scores
from rcm_bench.published_rows import published_rows
from rcm_bench.suite import PublishedEntry, Suite

SUITE = """\
suite: shown
models:
  teacher: {kind: results, role: teacher, layout: geneval, file: results.jsonl, steps: [35]}
samplers: {not-recorded: {kind: elsewhere}}
steps: [35]
prompts: {set: geneval, samples_per_prompt: 1}
benchmarks: {geneval: {detector: {kind: results}}}
"""
CHOSEN = """\
published:
  - {benchmark: geneval, model: Cosmos-Predict2, method: rCM, params: 2B, steps: [4, 1]}
  - {benchmark: geneval, model: Cosmos-Predict2, method: DMD2, params: 0.6B}
"""


@pytest.fixture(scope="module")
def verdicts():
    rng = np.random.default_rng()
    rows = [
        ResultRow(
            filename=f"{i:05d}/samples/00000.png",
            tag=record["tag"],
            prompt=record["prompt"],
            correct=bool(right),
            reason="" if right else "expected cup>=1, found 0",
            metadata=record,
            details={},
        )
        for i, record in enumerate(official_metadata())
        for right in [rng.random() < 0.8]
    ]
    return results_text(rows)


@pytest.fixture
def shown(tmp_path, verdicts):
    (tmp_path / "results.jsonl").write_text(verdicts)

    def write(text):
        path = tmp_path / "shown.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_they_stand_in_tables_and_page_and_change_no_number(shown, tmp_path):
    rcm_bench.run(shown(SUITE), tmp_path / "without")
    rcm_bench.run(shown(SUITE + CHOSEN), tmp_path / "with")
    for name in ("measurements.csv", "paired.csv"):
        before, after = ((tmp_path / d / "tables" / name).read_bytes() for d in ("without", "with"))
        assert before == after
    table = (tmp_path / "with/tables/measurements.md").read_text()
    row = next(line for line in table.splitlines() if "2B rCM" in line and "| 4 |" in line)
    assert row.endswith("| 4 | 0.81 | 1.00 | 0.98 | 0.73 | 0.84 | 0.58 | 0.72 |")
    assert r"\(published, arXiv 2510\.08431v3 Table 1\)" in row
    page = (tmp_path / "with/report/index.html").read_text()
    for text in (
        "Cosmos-Predict2 2B rCM, 4 steps: 0.81, published (arXiv 2510.08431v3 Table 1)",
        "samples per prompt 4, here 1; scorer Mask2Former (mmdet) and CLIP ViT-L/14, here not",
        "Note: printed overall; its six tasks average .785",
        'class="mark hollow"',
    ):
        assert text in page, text
    assert 'class="mark hollow"' not in (tmp_path / "without/report/index.html").read_text()
    outcome = rcm_bench.run(shown(SUITE + CHOSEN), tmp_path / "without")
    assert any("the choice of published numbers changed" in said for said in outcome.remarks)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("{benchmark: vbench}", "published[0].benchmark: unknown benchmark 'vbench'"),
        ("{benchmark: geneval, model: Cosmos}",
         "published[0].model: unknown published model 'Cosmos'. Available: Cosmos-Predict2, "),
        ("{benchmark: geneval, model: SDXL, params: 2B}", "unknown published params '2B'"),
        ("{benchmark: geneval, method: rCM, steps: [8]}", "published are 1, 2, 4 steps, got [8]"),
        ("{benchmark: geneval, metric: overall}", "unknown key 'metric'"),
    ],
)  # fmt: skip
def test_what_is_not_published_is_refused(shown, chosen, expected):
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(shown(f"{SUITE}published: [{chosen}]\n"))
    assert expected in str(caught.value)


def test_on_other_prompts_they_are_another_quantity(shown, tmp_path):
    text = "".join(json.dumps(record) + "\n" for record in official_metadata()[:60])
    (tmp_path / "prompts.jsonl").write_text(text)
    suite = SUITE.replace("set: geneval", "file: prompts.jsonl") + CHOSEN
    with pytest.raises(UserError, match="on this suite's 60 the same name is another quantity"):
        rcm_bench.plan(shown(suite))


class Vbench:
    name = "vbench"
    metrics = ("total", "quality", "semantic")


def test_percent_becomes_the_runs_unit_and_sources_are_told_apart():
    suite = Suite.model_construct(
        published=[PublishedEntry(benchmark="vbench", model="Wan2.1-T2V", method="teacher")]
    )
    found = published_rows(suite, [Vbench()], {"prompts": {"set": "vbench"}})
    scores = published_scores().query("benchmark == 'vbench' and method == 'teacher'")
    printed = scores[scores["metric"].isin(Vbench.metrics)]["value"]
    assert sorted(found["value"]) == pytest.approx(sorted(printed / 100))
    own = found.query("metric == 'total' and value == 0.8302")
    assert list(own["text"]) == ["0.8302"]
    assert list(own["model"]) == ["Wan2.1-T2V 1.3B teacher (arXiv 2510.08431v3 Table 2)"]
    assert not found.duplicated(["model", "metric", "steps"]).any()
    assert isinstance(found, pd.DataFrame)


def test_a_total_of_text_to_video_is_the_total_and_that_of_images_never():
    entry = PublishedEntry(benchmark="vbench", model="Cosmos-Predict2-TI2V")
    suite = Suite.model_construct(published=[entry])
    found = published_rows(suite, [Vbench()], {"prompts": {"set": "vbench"}})
    shown = {(row.metric, row.steps): row.text for row in found.itertuples()}
    assert shown == {("total", 35): "0.8303", ("total", 4): "0.8440"}
    raw = published_scores().query("model == 'Cosmos-Predict2-TI2V'")
    assert set(raw["metric"]) == {"t2v_total", "i2v_total", "throughput"}
