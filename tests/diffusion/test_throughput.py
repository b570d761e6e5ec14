"""The table of throughput: by hand, in a whole run on tiny models, and the harness's own share."""

import dataclasses
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import item, model_of

import rcm_bench
from rcm_bench import timing_rounds
from rcm_bench.diffusion import deviation
from rcm_bench.diffusion.decode import decode
from rcm_bench.diffusion.networks import WanVelocity
from rcm_bench.diffusion.solvers import rcm
from rcm_bench.prepare import prepare
from rcm_bench.seeds import seed_of
from rcm_bench.store import Index
from rcm_bench.suite import RcmSampler
from rcm_bench.suite_load import load_suite
from rcm_bench.throughput import Peak, throughput_rows
from rcm_bench.throughput_table import throughput_table
from rcm_bench.timing import median_interval
from rcm_bench.timing_rounds import cell_id
from rcm_bench.types import Media

H100 = "NVIDIA H100 80GB HBM3"
SECONDS = {("teacher", 50): 55.0, ("stock-teacher", 50): 68.0, ("rcm", 1): 1.35, ("rcm", 2): 1.9,
           ("rcm", 4): 3.0}  # fmt: skip


def index_of(plan, seconds, device=H100):
    empty = {field.name: {} for field in dataclasses.fields(Index)}
    samples = {
        i.sample_key: {"nfe": i.steps if i.model == "rcm" else 2 * i.steps} for i in plan.items
    }
    timings = {
        cell_id(*cell): [{
            "seconds": [0.9 * s, s, 1.2 * s], "parts": {"network": [s - 0.5] * 3,
            "decode": [0.5] * 3, "encode": [2.0] * 3}, "frames": 81, "peak_bytes": 9e9,
            "memory": "CUDA allocated", "device": device,
            "reasons": {"text": "random weights have no text encoder"},
            "deviation": {"decode": {"plain": 0.01, "here": 0.009},
                          "network": {"plain": 0.02, "here": 0.021}},
        }]
        for cell, s in seconds.items()
    }  # fmt: skip
    return Index(**(empty | {"samples": samples, "timings": timings}))


@pytest.fixture(scope="module")
def plan():
    return prepare(load_suite("throughput_wan")).plan


def test_by_hand(plan):
    table = throughput_table(plan, index_of(plan, SECONDS)).set_index(["model", "steps"])
    four = table.loc[("rcm", 4)]
    assert four["frames_per_second"] == 81 / 3 and four["low"] == pytest.approx(81 / 3.6)
    assert four["speedup"] == pytest.approx(55 / 3)
    assert four["over_stock_teacher"] == pytest.approx(68 / 3)
    assert (four["published_frames_per_second"], four["over_published"]) == (14.6, 27 / 14.6)
    assert four["network_seconds"] == 2.5 and four["encode_seconds"] == 2
    assert four["peak_megabytes"] == 9000 and four["deviation_decode"] == pytest.approx(0.9)
    assert four["deviation_network"] == pytest.approx(1.05)
    assert four["kernels"] == "attention: cudnn, compile: blocks, decoder: triton, autotune: true"
    # 32,760 tokens; 1.42e9 parameters within 5 %; 30 layers of width 1536.
    network = 2 * 1.42e9 * 32760 + 4 * 30 * 1536 * 32760**2
    expected = 81 * 989e12 / (4 * network + 275e12)
    assert four["roofline_frames_per_second"] == pytest.approx(expected, rel=0.02)
    assert four["share_of_roofline"] == pytest.approx(27 / four["roofline_frames_per_second"])
    assert four["reasons"] == "text: random weights have no text encoder"
    stock = table.loc[("stock-teacher", 50)]
    assert stock["kernels"] == "as diffusers has it"
    assert stock["published_frames_per_second"] == 0.72 and np.isnan(stock["speedup"])
    assert table.loc[("teacher", 50), "over_stock_teacher"] == pytest.approx(68 / 55)


def test_what_is_missing_says_why(plan):
    without = {cell: s for cell, s in SECONDS.items() if cell[0] == "rcm" and cell[1] != 2}
    table = throughput_table(plan, index_of(plan, without, "cpu (some)"))
    table = table.set_index(["model", "steps"])
    assert table.loc[("rcm", 2), "reasons"] == "not timed: run the suite again"
    said = table.loc[("rcm", 1), "reasons"]
    for why in ("speedup: no teacher of this size and shape was timed with these kernels",
                "over_stock_teacher: no teacher was timed as diffusers has it",
                "roofline: the peak of this device is not known here"):  # fmt: skip
        assert why in said
    assert np.isnan(table.loc[("rcm", 1), "speedup"])


def test_a_teacher_that_stopped_after_two_rounds(plan):
    """most_seconds ends a slow cell earlier: its rounds are paired with the first of the others."""
    index = index_of(plan, SECONDS)
    for model in ("teacher", "stock-teacher"):
        index.timings[cell_id(model, 50)][0]["seconds"] = [50.0, 60.0]
    index.timings[cell_id("rcm", 4)][0]["seconds"] = [2.0, 3.0, 7.0]
    four = throughput_table(plan, index).set_index(["model", "steps"]).loc[("rcm", 4)]
    assert four["speedup"] == pytest.approx((50 / 2 + 60 / 3) / 2)
    assert math.isnan(four["speedup_low"]) and four["rounds"] == 3
    assert four["over_stock_teacher"] == four["speedup"]  # taken alike: over the same seconds, too


def test_deviations_are_rows_of_the_timings(plan):
    record = index_of(plan, SECONDS).timings[cell_id("rcm", 4)][0]
    rows = {row["metric"]: row for row in throughput_rows(record)}
    assert rows["deviation: decode"]["value"] == pytest.approx(0.9)


def test_two_rounds_give_no_interval():
    low, value, high = median_interval([1.0, 3.0])
    assert value == 2.0 and math.isnan(low) and math.isnan(high)
    assert median_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


SUITE = """\
suite: tiny
models:
  teacher: {kind: wan, role: teacher, weights: ROOT, sampler: t, steps: [3], decoder: eager, SHAPE}
  stock: {kind: wan, weights: ROOT, sampler: t, steps: [3], SHAPE}
  student: {kind: wan, weights: ROOT, sampler: s, decoder: eager, SHAPE}
samplers: {t: {kind: unipc, guidance: 2.0}, s: {kind: rcm}}
steps: [1]
prompts: {file: prompts.txt, samples_per_prompt: 1}
benchmarks: {throughput: {rounds: 2, most_seconds: 1.0e-6, measure_deviation: true}}
"""
SHAPE = ("resolution: [32, 32], frames: 5, fps: 8.0, dtype: float32, text_dtype: float32, "
         "max_tokens: 16")  # fmt: skip


@pytest.mark.long
def test_a_whole_run(wan, tmp_path, monkeypatch):
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    (tmp_path / "prompts.txt").write_text("a photo of a cat\n")
    text = SUITE.replace("ROOT", str(wan[0])).replace("SHAPE", SHAPE)
    (tmp_path / "tiny.yaml").write_text(text)
    out = tmp_path / "run"
    assert rcm_bench.run(str(tmp_path / "tiny.yaml"), out).done
    table = pd.read_csv(out / "tables" / "throughput.csv").set_index(["model", "steps"])
    student, teacher = table.loc[("student", 1)], table.loc[("teacher", 3)]
    # The first round has taken longer than most_seconds.
    assert student["rounds"] == 1 and student["evaluations"] == 1 and teacher["evaluations"] == 6
    for part in ("text", "network", "decode", "encode"):
        assert (table[f"{part}_seconds"] > 0).all(), part
    assert student["speedup"] > 0 and student["over_stock_teacher"] > 0
    assert teacher[["speedup"]].isna().all() and teacher["over_stock_teacher"] > 0
    assert "deviation_decode: computed as diffusers has it, or in float32" in student["reasons"]
    page = (out / "report" / "index.html").read_text()
    assert "Throughput" in page and "nothing is published for this size" in page
    assert page.count("data:image/webp") >= len(table), "a still picture of each video"
    stills, videos = out.glob("posters/*.webp"), out.glob("blobs/*/*.mp4")
    assert {path.stem for path in stills} == {path.stem for path in videos}
    assert "Not there, and why:" in (out / "tables" / "throughput.md").read_text()


@pytest.mark.long
def test_what_fails_beside_the_times_loses_nothing_else(wan, tmp_path, monkeypatch):
    """The deviation and one cell run out of memory: the others' rows and the report are there."""
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    (tmp_path / "prompts.txt").write_text("a photo of a cat\n")
    text = SUITE.replace("ROOT", str(wan[0])).replace(
        "SHAPE", SHAPE.replace(" dtype: float32", " dtype: bfloat16")
    )
    text = text.replace("most_seconds: 1.0e-6, ", "").replace("steps: [1]", "steps: [1, 2]")
    (tmp_path / "tiny.yaml").write_text(text)
    real = timing_rounds.once

    def once(model, item, peak, **how):
        if (item.model, item.steps, how != {}) == ("student", 2, True):
            raise torch.OutOfMemoryError("CUDA out of memory; no \nblocks")
        return real(model, item, peak, **how)

    monkeypatch.setattr(timing_rounds, "once", once)
    monkeypatch.setattr(deviation, "_network", None)
    out = tmp_path / "run"
    outcome = rcm_bench.run(str(tmp_path / "tiny.yaml"), out)
    assert not outcome.done and any("student at 2 steps" in said for said in outcome.remarks)
    table = pd.read_csv(out / "tables" / "throughput.csv").set_index(["model", "steps"])
    reasons = table.loc[("student", 2), "reasons"]
    assert "not timed: run the suite again (round 1: OutOfMemoryError: CUDA out of mem" in reasons
    assert math.isnan(table.loc[("student", 2), "seconds"])
    others = table.drop(index=("student", 2))
    assert (others["rounds"] == 2).all() and (others["seconds"] > 0).all()
    assert table.loc[("student", 1), "speedup"] > 0
    said = table.loc[("student", 1), "reasons"]
    assert "deviation_network: failed: TypeError" in said
    assert "deviation\\_network" in (out / "tables" / "throughput.md").read_text()
    assert "deviation_network: failed" in (out / "report" / "index.html").read_text()
    # What failed is timed again, all cells together, since only rounds of one session are paired.
    monkeypatch.setattr(timing_rounds, "once", real)
    assert rcm_bench.run(str(tmp_path / "tiny.yaml"), out).done
    table = pd.read_csv(out / "tables" / "throughput.csv").set_index(["model", "steps"])
    assert table.loc[("student", 2), "speedup"] > 0


def test_the_peak_of_a_model_leaves_out_the_weights_of_those_beside_it(wan, monkeypatch):
    """9 GB are taken at the start, 2 of them this model's, and 15 at the most: 8 are its own."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 9_000_000_000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 15_000_000_000)
    model = model_of("wan", wan[0], RcmSampler(kind="rcm"), frames=5, fps=16.0)
    model.load("cpu")
    one = item(steps=1, seed=seed_of("a", 0, "rcm-bench-1"))
    assert model.held_bytes() == 0, "nothing is loaded yet"
    peak = Peak("cuda")
    monkeypatch.setattr(model, "held_bytes", lambda: 2_000_000_000)
    assert timing_rounds.once(model, one, peak).peak_bytes == 8_000_000_000
    monkeypatch.delattr(model, "held_bytes")
    placed = model._engine.placed(1)
    weights = [*placed._net.parameters(), *placed._vae.parameters()]
    buffers = [*placed._net.buffers(), *placed._vae.buffers()]
    assert model.held_bytes() == sum(x.numel() * x.element_size() for x in weights + buffers)
    peak.start()
    assert peak.bytes() == 15_000_000_000, "all that is allocated, where nobody says what is whose"


def test_the_harness_costs_little(wan, monkeypatch):
    """Its own processor time for a sample is under 1 % of the fastest cell: 13 ms of 1.35 s.

    A bare loop draws the same noise, calls the same network and decoder, and rounds to 8 bits;
    what the harness does besides (texts, contexts, records of parts) is the difference.
    """
    sampler = RcmSampler(kind="rcm")
    model = model_of("wan", wan[0], sampler, frames=5, fps=16.0)
    model.load("cpu")
    one = item(steps=1, seed=seed_of("a", 0, "rcm-bench-1"))
    list(model.generate([one]))
    placement = model._engine.placed(1)

    @torch.inference_mode()
    def bare():
        rng = torch.Generator().manual_seed(one.seed)
        noise = torch.randn(model.latent_shape, generator=rng)[None]
        with placement.transformer() as net, placement.vae() as vae:
            velocity = WanVelocity(net=net, text_BLD=text)
            return decode(vae, rcm(sampler, velocity, noise, [rng], 1)[0]).frames

    text = model._engine._texts([one.prompt_rewritten], torch.float32)
    peak = Peak("cpu")
    spent = []
    for _ in range(15):
        times = [time.process_time()]
        for work in (bare, lambda: timing_rounds.once(model, one, peak)):
            work()
            times.append(time.process_time())
        spent.append(np.diff(times))
    (media,) = model.generate([one])
    assert isinstance(media, Media) and (media.array == bare()).all(), "the same work"
    loop, harness = np.median(spent, axis=0)
    print(f"bare loop {1e3 * loop:.1f} ms, harness {1e3 * (harness - loop):.2f} ms more")
    assert harness - loop < 0.01 * SECONDS["rcm", 1]
