"""The laboratory's own samples, taken out and brought back: the very same table."""

import json
import shutil

import pandas as pd

import rcm_bench
from rcm_bench.finish import open_run

LIVE = """\
suite: live
models:
  teacher: {kind: lab, role: teacher, weights: lab-teacher, sampler: flow, steps: [2]}
  rcm: {kind: lab, weights: lab-rcm, sampler: few}
samplers:
  flow: {kind: euler}
  few: {kind: consistency}
steps: [1, 2]
prompts: {set: lab, per_task: 1, samples_per_prompt: 2}
benchmarks: {geneval: {}, diversity: {}, detail: {}}
"""


def export(run, root):
    """Write a run's samples as GenEval's scripts would have."""
    opened = open_run(run)
    samples = opened.store.index().samples
    metadata = {prompt.prompt_id: dict(prompt.metadata) for prompt in opened.plan.prompts}
    for item in opened.plan.items:
        number = item.prompt_id.partition("-")[0]
        folder = root / item.model / str(item.steps) / number
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        (folder / "metadata.jsonl").write_text(json.dumps(metadata[item.prompt_id]))
        blob = opened.store.blobs.path(samples[item.sample_key]["blob"])
        shutil.copyfile(blob, folder / f"samples/{item.seed_index:05d}.png")
        (folder / "grid.png").write_bytes(b"made by the official script, and no sample")


def measured(run):
    return pd.read_csv(run / "tables/measurements.csv", dtype=str, keep_default_na=False)


def test_samples_taken_out_and_brought_back_give_the_same_table(tmp_path, drawn):
    (tmp_path / "live.yaml").write_text(LIVE)
    rcm_bench.run(str(tmp_path / "live.yaml"), tmp_path / "live")
    export(tmp_path / "live", tmp_path / "official")
    text = LIVE.replace("suite: live", "suite: brought")
    for name in ("teacher", "rcm"):
        text = text.replace(
            f"kind: lab, role: teacher, weights: lab-{name}" if name == "teacher"
            else f"kind: lab, weights: lab-{name}",
            "kind: folder, layout: geneval, "
            f"{'role: teacher, ' * (name == 'teacher')}path: 'official/{name}/{{steps}}'",
        )  # fmt: skip
    (tmp_path / "brought.yaml").write_text(text)
    outcome = rcm_bench.run(str(tmp_path / "brought.yaml"), tmp_path / "brought")
    assert outcome.whole
    before, after = measured(tmp_path / "live"), measured(tmp_path / "brought")
    assert set(before["protocol"]) != set(after["protocol"])
    kept = [column for column in before if column != "protocol"]
    assert before[kept].to_csv() == after[kept].to_csv() and len(before) > 20
    compared = rcm_bench.compare(tmp_path / "live", tmp_path / "brought")
    assert compared.paired["same_samples"].all() and not compared.paired["verified"].any()
    page = (tmp_path / "brought/report/index.html").read_text()
    assert "Not verified: nobody recorded seeds" in page and "not recorded (png as brought)" in page
