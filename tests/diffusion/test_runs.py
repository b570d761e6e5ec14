"""Whole runs on tiny models: videos and images stored, an interrupted run goes on, memory."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_models import item, model_of, nearly_all

import rcm_bench
from rcm_bench.diffusion import engine as engine_module
from rcm_bench.diffusion import memory
from rcm_bench.errors import UserError
from rcm_bench.manifest import make_manifest
from rcm_bench.prepare import prepare
from rcm_bench.store import RunStore
from rcm_bench.suite import RcmSampler
from rcm_bench.suite_load import load_suite

GALLERY = Path(__file__).parents[2] / "reports" / "gallery"
SUITE = """\
suite: tiny-wan
models:
  teacher: &net
    {kind: wan, role: teacher, weights: WEIGHTS, sampler: teacher, steps: [3], resolution: [32, 32],
     frames: 5, fps: 8.0, negative_prompt: blurry, dtype: float32, text_dtype: float32,
     max_tokens: 16}
  student: {kind: wan, weights: WEIGHTS, sampler: few, resolution: [32, 32], frames: 5, fps: 8.0,
            dtype: float32, text_dtype: float32, max_tokens: 16}
samplers:
  teacher: {kind: unipc, guidance: 3.0, shift: 3.0}
  few: {kind: rcm, sigma_max: 1600.0}
steps: [1, 2]
prompts: {file: prompts.txt, rewritten: long.txt, samples_per_prompt: 1}
benchmarks: {latency: {}}
run: {batch_size: 2}
"""
PROMPTS = ["a photo of a cat", "two dogs on the beach", "a red cube left of a blue sphere"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    monkeypatch.setattr("rcm_bench.timing.ROUNDS", 1)


@pytest.fixture
def suite(wan, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "long.txt").write_text("\n".join(f"{p}, at dawn" for p in PROMPTS))
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE.replace("&net\n    ", "").replace("WEIGHTS", str(wan[0])))
    return path


def samples(folder):
    index = RunStore.open(folder).index()
    return {key: (record["blob"], record["nfe"]) for key, record in index.samples.items()}


def test_an_interrupted_run_goes_on(suite, tmp_path, monkeypatch):
    """Stopped in its third batch and run again it has the files of an uninterrupted run."""
    whole = rcm_bench.run(str(suite), tmp_path / "whole")
    assert whole.done
    records = samples(tmp_path / "whole")
    assert len(records) == 9 and {blob[-4:] for blob, _ in records.values()} == {".mp4"}
    assert sorted(nfe for _, nfe in records.values()) == [1] * 3 + [2] * 3 + [6] * 3

    real, calls = engine_module.Engine.generate, []

    def interrupted(self, items):
        calls.append(items)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, items)

    monkeypatch.setattr(engine_module.Engine, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rcm_bench.run(str(suite), tmp_path / "part")
    assert 0 < len(samples(tmp_path / "part")) < 9
    monkeypatch.setattr(engine_module.Engine, "generate", real)
    assert rcm_bench.run(str(suite), tmp_path / "part").done
    assert samples(tmp_path / "part") == records


def test_rewritten_prompts_are_paired_by_line_and_recorded(suite, tmp_path):
    prepared = prepare(load_suite(str(suite)))
    for one in prepared.plan.items:
        assert one.prompt in PROMPTS and one.prompt_rewritten == f"{one.prompt}, at dawn"
    said = make_manifest(prepared, {})
    assert said["protocol"]["rewriting"] == "file"
    assert said["protocol"]["negative_prompt"] == ["blurry"]
    assert said["protocol"]["codec"].startswith("mp4-1 (MP4, H.264 by libx264, crf 12, preset fast")
    store = RunStore.create(tmp_path / "out", said, prepared.plan.prompts)
    store.close()
    lines = (tmp_path / "out" / "prompts.jsonl").read_text()
    assert all(f"{p}, at dawn" in lines and f'"{p}"' in lines for p in PROMPTS)
    (tmp_path / "long.txt").write_text("one line")
    with pytest.raises(UserError, match=r"prompts.rewritten: .*long\.txt: expected a line for each "
                       r"of the 3 prompts in .*, got 1"):  # fmt: skip
        prepare(load_suite(str(suite)))


def test_random_weights_are_timed_and_never_scored(suite, tmp_path):
    text = suite.read_text().replace("benchmarks: {latency: {}}", "benchmarks: {geneval: {}}")
    lines = [
        line if "weights:" not in line else
        line.split("weights: ")[0] + "weights: random, architecture: 1.3B, "
        + line.split("weights: ")[1].partition(", ")[2]
        for line in text.splitlines()
    ]  # fmt: skip
    suite.write_text("\n".join(lines))
    why = r"only \(latency or throughput\); 'geneval' would measure noise"
    with pytest.raises(UserError, match=f"weights: random weights are for throughput {why}"):
        rcm_bench.plan(str(suite))


def test_random_weights_sample(tmp_path, monkeypatch):
    """Real code, tiny shapes: the architecture is made small for the test."""
    from rcm_bench.diffusion import families, loading, weights

    tiny = {**families.WAN.architectures["1.3B"], "num_attention_heads": 1, "ffn_dim": 64,
            "num_layers": 1, "attention_head_dim": 24, "text_dim": 32}  # fmt: skip
    monkeypatch.setitem(families.WAN.architectures, "1.3B", tiny)
    monkeypatch.setattr(loading, "VAE", {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1})
    assert weights.RANDOM == "random"
    model = model_of("wan", "random", RcmSampler(kind="rcm"), folder=tmp_path, architecture="1.3B",
                     dtype="bfloat16", frames=5, fps=16.0)  # fmt: skip
    model.load("cpu")
    one, two = model.generate([item(steps=1), item(steps=1, seed=8)])
    assert one.finite and one.array.std() > 0 and (one.array != two.array).any()
    assert not model.trained()


def test_out_of_memory_makes_smaller_batches_and_says_so(wan, monkeypatch):
    model = model_of("wan", wan[0], RcmSampler(kind="rcm"))
    items = [item(seed=s, steps=1) for s in range(5)]
    model.load("cpu")
    whole = list(model.generate(items))
    assert [m.made["batch"] for m in whole] == [5] * 5
    real = engine_module.sample

    def small(sampler, velocity, noise, *rest):
        if len(noise) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(sampler, velocity, noise, *rest)

    monkeypatch.setattr(engine_module, "sample", small)
    split = list(model.generate(items))
    assert [m.made["batch"] for m in split] == [2, 2, 1, 2, 2]
    for a, b in zip(whole, split, strict=True):
        assert nearly_all(a.array.astype(int) - b.array.astype(int), 1)

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine_module, "sample", never)
    with pytest.raises(torch.OutOfMemoryError):
        list(model.generate(items[:1]))


def test_weights_that_do_not_fit_end_a_run_at_once(suite, wan, tmp_path, monkeypatch):
    """A pickle is looked into when it is read: once, not again for every batch."""
    from rcm_bench.canonical import file_digest
    from rcm_bench.diffusion import loading

    state = wan[1].transformer.state_dict()
    del state["proj_out.bias"]
    torch.save(state, tmp_path / "student.pt")
    text = suite.read_text().replace("student: {kind", "student: {transformer: student.pt, kind")
    suite.write_text(text)
    reads, real = [], loading.read_tensors
    monkeypatch.setattr(loading, "read_tensors", lambda c: reads.append(c) or real(c))
    allowed = [file_digest(tmp_path / "student.pt")]
    with pytest.raises(UserError, match=r"1 missing: proj_out\.bias"):
        rcm_bench.run(str(suite), tmp_path / "run", allow_pickle=allowed)
    assert len(reads) == 1 and len(samples(tmp_path / "run")) == 3  # the teacher's


@pytest.mark.parametrize("mode", ["model", "group"])
def test_offloading_changes_no_bit(mode, wan):
    expected = model_of("wan", wan[0], RcmSampler(kind="rcm"))
    model = model_of("wan", wan[0], RcmSampler(kind="rcm"), memory=mode)
    for one in (expected, model):
        one.load("cpu")
    (a,), (b,) = (list(m.generate([item()])) for m in (expected, model))
    assert (a.array == b.array).all() and b.made["memory"] == mode


def test_the_fastest_mode_that_fits():
    peaks = memory.Peaks(transformer=28, activations=10, vae=1, decode=6, block=0.7)
    assert [peaks.at(m) for m in ("resident", "model", "group")] == [39, 38, 11.4]
    assert memory.choose(peaks, 80) == "resident"
    assert memory.choose(peaks, 42) == "model"
    assert memory.choose(peaks, 20) == "group"
    assert memory.choose(peaks, 12) is None


@pytest.mark.parametrize(("kind", "size", "count"), [
    ("wan", "1.3B", 1.42e9), ("wan", "14B", 14.3e9), ("cosmos", "2B-Text2Image", 1.96e9),
    ("cosmos", "0.6B-Text2Image", 0.6e9),
    ("cosmos", "14B-Text2Image", 14.4e9),
])  # fmt: skip
def test_estimated_parameters(kind, size, count):
    """Within 5 % of diffusers' networks at real shapes, which are built without memory."""
    import diffusers

    from rcm_bench.diffusion import families

    family = {"wan": families.WAN, "cosmos": families.COSMOS}[kind]
    with torch.device("meta"):
        net = getattr(diffusers, family.transformer)(**family.architectures[size])
    exact = sum(p.numel() for p in net.parameters())
    assert abs(families.parameters(family.architectures[size]) / exact - 1) < 0.05
    assert abs(exact / count - 1) < 0.05


def test_a_14b_model_at_full_size_fits_one_gpu_of_80_gb(tmp_path):
    model = model_of("wan", "random", RcmSampler(kind="rcm"), folder=tmp_path, architecture="14B",
                     resolution=[480, 832], frames=81, fps=16.0, dtype="bfloat16",
                     decode_dtype="bfloat16")  # fmt: skip
    assert memory.choose(model.peaks(1), 79e9) == "resident"
    ours = model_of("wan", "random", RcmSampler(kind="rcm"), folder=tmp_path, architecture="14B",
                    resolution=[480, 832], frames=81, fps=16.0, dtype="bfloat16",
                    decode_dtype="bfloat16", decoder="triton")  # fmt: skip
    assert memory.choose(ours.peaks(1), 79e9) == "resident"
    assert model.latent_shape == (16, 21, 60, 104)


@pytest.mark.parametrize(("suite", "name"), [
    ("throughput_wan", "rcm"), ("throughput_wan", "stock-teacher"), ("throughput_wan_14b", "rcm"),
])  # fmt: skip
def test_estimated_peaks_are_those_of_an_h200(suite, name):
    """At most 10 % above what was measured, never below; all models' weights were resident."""
    table = GALLERY / f"{suite}__h200__2026-11-30" / "tables" / "throughput.csv"
    measured = pd.read_csv(table).query("model == @name")["peak_megabytes"].max() * 1e6
    models = prepare(load_suite(suite)).models
    peaks = {each: model.peaks(1) for each, model in models.items()}
    beside = sum(own.transformer + own.vae for each, own in peaks.items() if each != name)
    assert 1 <= peaks[name].at("resident") / (measured - beside) < 1.1


IMAGES = """\
suite: tiny-cosmos
models:
  teacher: {kind: cosmos, role: teacher, weights: WEIGHTS, sampler: own, steps: [2],
            resolution: [32, 32], dtype: float32, text_dtype: float32, max_tokens: 16}
  student: {kind: cosmos, weights: WEIGHTS, transformer: student.safetensors, sampler: jumps,
            second_time: difference, resolution: [32, 32], dtype: float32, text_dtype: float32,
            max_tokens: 16}
samplers: {own: {kind: scheduler, guidance: 4.5}, jumps: {kind: meanflow}}
steps: [2]
prompts: {file: prompts.txt, samples_per_prompt: 1}
benchmarks: {latency: {}}
run: {batch_size: 2}
"""


def test_images_of_a_teacher_and_a_meanflow_student_where_memory_is_short(
    cosmos, tmp_path, monkeypatch
):
    """Images as PNG; that a batch had to be split is recorded with each of its samples."""
    from safetensors.torch import save_file
    from test_meanflow_students import student_of

    save_file(student_of(cosmos[1], "cosmos"), tmp_path / "student.safetensors")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS[:2]))
    path = tmp_path / "tiny.yaml"
    path.write_text(IMAGES.replace("WEIGHTS", str(cosmos[0])))
    real = engine_module.sample

    def small(sampler, velocity, noise, *rest):
        if len(noise) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(sampler, velocity, noise, *rest)

    monkeypatch.setattr(engine_module, "sample", small)
    assert rcm_bench.run(str(path), tmp_path / "run").done
    records = RunStore.open(tmp_path / "run").index().samples.values()
    assert len(records) == 4 and {r["blob"][-4:] for r in records} == {".png"}
    assert {tuple(r["made"].items()) for r in records} == {(("batch", 1), ("memory", "resident"))}
    assert sorted(r["nfe"] for r in records) == [2, 2, 4, 4]
    assert all(r["flags"] == [] for r in records)


def test_the_mode_follows_from_the_free_memory_of_the_device(monkeypatch):
    """Numbers of a device that is not here; what does not fit at all says what to change."""
    peaks = memory.Peaks(transformer=28e9, activations=10e9, vae=1e9, decode=6e9, block=0.7e9)
    for free, mode in ((80e9, "resident"), (42e9, "model"), (20e9, "group")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 80e9))
        assert engine_module._mode(peaks, "cuda", "x") == mode
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (8e9, 80e9))
    with pytest.raises(UserError, match=r"^x: needs about 11 GB of GPU memory even block by block, "
                       r"got 8 of 80 GB free; use a smaller resolution, fewer frames or run\.batch_"
                       "size: 1"):  # fmt: skip
        engine_module._mode(peaks, "cuda", "x")
    assert engine_module._mode(peaks, "cpu", "x") == "resident"


def test_a_model_makes_room_for_the_next_where_memory_is_short(wan, monkeypatch):
    """With room beside it the first stays loaded; without it drops its networks."""
    models = [model_of("wan", wan[0], RcmSampler(kind="rcm")) for _ in range(3)]
    engines = [engine_module.Engine(model, "cpu", "x") for model in models]
    dropped = []
    for engine in engines:
        engine.device = "cuda"
        monkeypatch.setattr(engine, "unload", lambda engine=engine: dropped.append(engine))
    monkeypatch.setattr(engine_module, "_working", [])
    free = [1e12]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 1e12))
    engine_module.claim(engines[0])
    engine_module.claim(engines[1])
    assert dropped == []
    free[0] = 1.0
    engine_module.claim(engines[2])
    assert dropped == engines[:2]
    engine_module.claim(engines[2])
    assert dropped == engines[:2]  # nothing else is there
