"""A run of 100,000 samples: tables and plots come out in a minute of processor time."""

import csv
import hashlib
import os
import time

import numpy as np
import pytest

from rcm_bench import environment
from rcm_bench.finish import open_run, report_input
from rcm_bench.manifest import make_manifest
from rcm_bench.prepare import prepare
from rcm_bench.scoring import score_key, unique_scorers
from rcm_bench.store import RunStore
from rcm_bench.suite_load import load_suite
from rcm_distill.lab.grammar import parse
from rcm_distill.lab.world import true_dispersion
from rcm_reports import write_plots, write_tables

SUITE = """\
suite: large
extends: quickstart
prompts: {per_task: 1610}
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The laboratory's models on 2,002 prompts: records as a run leaves them, values drawn."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "large.yaml").write_text(SUITE)
    prepared = prepare(load_suite(str(folder / "large.yaml")))
    plan, root = prepared.plan, folder / "run"
    manifest = make_manifest(prepared, environment.environment("cpu"))
    store = RunStore.create(root, manifest, plan.prompts)
    (scorer,) = unique_scorers(prepared.benchmarks)
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    slots = {key: _asked(prompt) for key, prompt in prompts.items()}
    rng = np.random.default_rng(0)
    skill = {cell: 0.3 + 0.6 * rng.random() for cell in plan.cells()}
    for batch in plan.batches():
        rows = []
        for item in batch:
            digest = hashlib.sha256(item.item_id.encode()).hexdigest()
            prompt = prompts[item.prompt_id]
            rows.append(_sample(item, digest))
            blob = store.blobs.path(rows[-1]["blob"])
            blob.parent.mkdir(exist_ok=True, parents=True)
            blob.touch()  # nothing but the page reads it
            key = score_key(digest, scorer, prompt)
            good = skill[item.model, item.steps]
            rows.append(_score(item, digest, key, *slots[item.prompt_id], good, rng))
        store.add(rows)
    store.close()
    return root


def _asked(prompt):
    parsed = parse(prompt.text)
    truth = true_dispersion(parsed)._asdict()
    clauses = [clause for clause in parsed.include for _ in range(clause.count)]
    return clauses, {k: None if v != v else float(v) for k, v in truth.items()}


def _sample(item, digest):
    return {
        "kind": "sample",
        "status": "ok",
        "key": item.sample_key,
        "item_id": item.item_id,
        "blob": f"{digest}.png",
        "bytes": 2300,
        "device": "none",
        "flags": [],
        "nfe": item.steps,
        "seconds": {"sample": 0.003},
        "at": "2026-11-24T00:00:00.000+00:00",
    }


def _score(item, digest, key, clauses, truth, good, rng):
    correct = bool(rng.random() < good)
    draws = rng.random((len(clauses), 4)).round(5)
    slots = [
        {
            "name": clause.name,
            "color": clause.color or "red",
            "xy": [40 * x, 40 * y],
            "radius": 5 + 3 * r,
            "free": clause.color is None,
        }
        for clause, (x, y, r, _) in zip(clauses, draws, strict=True)
    ]
    boxes = [[*(40 * row).tolist(), 0.9, "red circle"] for row in draws]
    scene = {"slots": slots, "exchangeable": False, "tone": float(draws[0, 3]), "truth": truth}
    values = {
        "correct": (float(correct), {"correct": correct, "boxes": boxes}),
        "psnr": (25 + 10 * good + round(rng.normal(), 5), {}),
        "sharpness": (1.0, {"image": float(0.001 + draws[0, 0]), "rendered": 0.5}),
        "scene": (float(len(clauses)), scene),
    }
    return {
        "kind": "score",
        "status": "ok",
        "key": key,
        "item_id": item.item_id,
        "sample_digest": digest,
        "scorer": "lab",
        "version": "2",
        "scores": [
            {"metric": metric, "value": value, "reason": None, "details": details}
            for metric, (value, details) in values.items()
        ],
    }


@pytest.mark.slow
def test_tables_and_plots_of_a_hundred_thousand_samples_take_under_a_minute(large, tmp_path):
    marks = {"start": time.process_time()}
    run = open_run(large)
    index = run.store.index()
    marks["records read"] = time.process_time()
    report = report_input(run, index)
    marks["statistics"] = time.process_time()
    write_tables(report, tmp_path / "tables")
    write_plots(report, tmp_path / "plots")
    marks["tables and plots written"] = time.process_time()
    names = list(marks)
    spent = {b: marks[b] - marks[a] for a, b in zip(names, names[1:], strict=False)}
    assert len(report.samples) > 100_000
    assert not report.measurements["value"].isna().all()
    if target := os.environ.get("SCALE_FIGURES"):
        with open(target, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["samples", "part", "cpu_seconds"])
            rows.writerows((len(report.samples), k, f"{v:.1f}") for k, v in spent.items())
    assert sum(spent.values()) < 60, spent
