"""VBench-I2V in a suite: its prompts and images, ten dimensions on the stand-in, results again."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from vbench_stand_in import row

import rcm_bench
from rcm_bench.benchmarks.vbench import Benchmark as TextBenchmark
from rcm_bench.benchmarks.vbench_i2v import Benchmark
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS, I2V_TOTALS, i2v_totals
from rcm_bench.vbench import prompts, staging
from rcm_bench.vbench.dimensions import I2V, I2V_GROUPS, NATIVE
from rcm_bench.vbench.results import read_info, read_results

PER_GROUP = 3
MOTIONS = ("camera pans left", "camera zooms in", "camera static")
SUITE = """\
suite: image
models: {teacher: {kind: fake, role: teacher, sampler: flow}}
samplers: {flow: {kind: euler}}
steps: [4]
prompts: {set: vbench_i2v, info: i2v.json, samples_per_prompt: 3}
benchmarks: {vbench_i2v: {device: cpu, aspect: 7-4, delegated: [NATIVE]}}
""".replace("NATIVE", ", ".join(name for name in NATIVE if name in I2V))
BROUGHT = """\
suite: again
models:
  teacher: {kind: results, role: teacher, layout: vbench_i2v, sampler: unknown, steps: [4],
            file: out/tables/vbench_i2v_teacher_flow_4_eval_results.json}
samplers: {unknown: {kind: elsewhere}}
steps: [4]
prompts: {set: vbench_i2v, info: i2v.json, samples_per_prompt: 3}
benchmarks: {vbench_i2v: {results: {}}}
"""


def small_info():
    return [
        {
            "prompt_en": f"{names[0]} number {i}, {MOTIONS[i]}",
            "dimension": list(names),
            "image_type": "other",
            "image_name": f"picture {i}.jpg",
        }
        for _, names in I2V_GROUPS
        for i in range(PER_GROUP)
    ]


@pytest.fixture
def image(tmp_path, monkeypatch, built):
    """A suite of VBench-I2V on the stand-in; the fake model's images pass for videos."""
    path = tmp_path / "i2v.json"
    path.write_text(json.dumps(small_info()))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(path))
    monkeypatch.setattr(staging, "SUFFIXES", (".png",))
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    crops = tmp_path / "images" / "crop" / "7-4"
    crops.mkdir(parents=True)
    for i in range(PER_GROUP):
        (crops / f"picture {i}.jpg").write_bytes(bytes([i]))
    monkeypatch.setenv("RCM_BENCH_I2V_IMAGES", str(tmp_path / "images"))
    suite = tmp_path / "image.yaml"
    suite.write_text(SUITE)
    return suite


def raw_by_hand(samples, run_dir):
    """Raw dimensions from the stored files, by the stand-in's rows."""
    found = []
    for name in I2V:
        own = [(s, row(name, run_dir / s.blob)) for s in samples if name in s.task.split("+")]
        scale = 0.01 if name == "imaging_quality" else 1
        found.append(scale * np.mean([float(r["video_results"]) for _, r in own]))
    return np.array(found)


@pytest.mark.long
def test_ten_dimensions_and_totals_by_hand_and_its_files_come_back(image, tmp_path):
    outcome = rcm_bench.run(str(image), tmp_path / "out")
    assert outcome.whole
    from rcm_bench.finish import open_run
    from rcm_bench.tables import run_tables

    opened = open_run(tmp_path / "out")
    samples = run_tables(opened.plan, opened.store.index(), opened.benchmarks).samples
    opened.store.close()
    assert len(samples) == 3 * PER_GROUP * 3
    raw = raw_by_hand(list(samples.itertuples()), tmp_path / "out")
    own = outcome.measurements.query("benchmark == 'vbench_i2v'").set_index("metric")
    for name, value in zip(I2V, raw, strict=True):
        assert own.loc[name, "value"] == pytest.approx(value, rel=1e-9), name
    for name, value in i2v_totals(raw[: len(I2V_DIMENSIONS)]).items():
        assert own.loc[name, "value"] == pytest.approx(float(value), rel=1e-9), name
    tables = tmp_path / "out" / "tables"
    stem = "vbench_i2v_teacher_flow_4"
    assert {path.name for path in tables.glob("vbench_*")} == {
        f"{stem}{end}" for end in ("_eval_results.json", "_full_info.json")}  # fmt: skip
    camera = read_results(tables / f"{stem}_eval_results.json")["camera_motion"]
    assert set(camera.by_type) == {"pan_left", "zoom_in", "static"}
    assert np.mean(list(camera.by_type.values())) == pytest.approx(camera.aggregate)
    info = read_info(tables / f"{stem}_full_info.json")
    assert [r.image for r in info] == [r["image_name"] for r in small_info()]
    (tmp_path / "again.yaml").write_text(BROUGHT)
    again = rcm_bench.run(str(tmp_path / "again.yaml"), tmp_path / "again").measurements
    brought = again.query("benchmark == 'vbench_i2v'").set_index("metric")
    for name in (*I2V, *I2V_TOTALS):
        assert brought.loc[name, "value"] == pytest.approx(own.loc[name, "value"]), name


def crop(tmp_path, number=1):
    return tmp_path / "images" / "crop" / "7-4" / f"picture {number}.jpg"


def keys_of(suite):
    """Keys of the delegated scorers, by dimension, of a plan and of the run that it freezes."""
    from rcm_bench.finish import make_benchmarks
    from rcm_bench.prepare import prepare
    from rcm_bench.scoring import unique_scorers
    from rcm_bench.suite import Suite
    from rcm_bench.suite_load import load_suite

    prepared = prepare(load_suite(str(suite)))
    opened = make_benchmarks(Suite.model_validate(prepared.loaded.data))
    assert list(unique_scorers(opened)) == list(unique_scorers(prepared.benchmarks))
    return {scorer.name: key for key, scorer in unique_scorers(opened).items()}


def test_scores_go_by_the_images_that_they_were_compared_with(image, tmp_path):
    before, same = keys_of(image), keys_of(image)
    crop(tmp_path).write_bytes(b"another")
    after = keys_of(image)
    changed = {name.partition(".")[2] for name in before if before[name] != after[name]}
    assert before == same and changed == {"i2v_subject", "i2v_background"}


def test_a_suite_may_name_an_images_digest(image, tmp_path):
    image.write_text(SUITE.replace("7-4,", f"7-4, images: {{picture 1.jpg: '{0:064}'}},"))
    with pytest.raises(
        UserError, match=r"vbench_i2v\.images: .*picture 1\.jpg: expected SHA-256 00"
    ):
        rcm_bench.plan(str(image))
    digest = file_digest(crop(tmp_path))
    image.write_text(SUITE.replace("7-4,", f"7-4, images: {{picture 1.jpg: '{digest}'}},"))
    rcm_bench.plan(str(image))


@pytest.mark.long
def test_a_changed_image_is_another_run_and_is_scored_anew(image, tmp_path):
    only = SUITE.replace("7-4,", "7-4, dimensions: [i2v_subject],")
    image.write_text(only)
    assert rcm_bench.run(str(image), tmp_path / "out").done
    records = tmp_path / "out" / "records"
    stored = {path: path.read_text() for path in records.iterdir()}
    crop(tmp_path).write_bytes(b"another")
    with pytest.raises(UserError, match=r"vbench_i2v\.images\.picture 1\.jpg"):
        rcm_bench.run(str(image), tmp_path / "out")
    for path, text in stored.items():
        kept = [line for line in text.splitlines(True) if json.loads(line)["kind"] != "score"]
        path.write_text("".join(kept))
    shutil.rmtree(tmp_path / "out" / "vbench")
    assert not rcm_bench.score(tmp_path / "out").done
    said = "".join(path.read_text() for path in records.iterdir())
    assert "picture 1.jpg: expected SHA-256" in said
    image.write_text(only + "reuse: [out]\n")
    assert rcm_bench.run(str(image), tmp_path / "anew").done
    (result,) = (tmp_path / "anew" / "vbench").glob("i2v_subject-*/result.json")


def test_a_model_begins_from_the_images_that_its_videos_are_compared_with(
    image, tmp_path, monkeypatch
):
    """By content: a copy will do, in any folder; another picture is refused, both files named."""
    from rcm_bench import components

    fake = components.find("models", "model kind", "fake", "here")
    own = shutil.copytree(crop(tmp_path).parent, tmp_path / "frames")
    names = {f"{i:05d}": f"picture {i % PER_GROUP}.jpg" for i in range(3 * PER_GROUP)}
    monkeypatch.setattr(
        fake, "first_frame", lambda self, prompt: own / names[prompt[:5]], raising=False
    )
    rcm_bench.plan(str(image))
    (own / "picture 2.jpg").write_bytes(b"another")
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(image))
    said = str(caught.value)
    digests = [file_digest(own / "picture 2.jpg"), file_digest(crop(tmp_path, 2))]
    for path, digest in zip((own / "picture 2.jpg", crop(tmp_path, 2)), digests, strict=True):
        assert f"{path} (SHA-256 {digest[:16]})" in said
    assert "benchmarks.vbench_i2v: model 'teacher' begins from" in said and "1 of 3 differ" in said


def test_a_model_that_begins_from_text_alone_is_refused(image, monkeypatch):
    from rcm_bench import components

    fake = components.find("models", "model kind", "fake", "here")
    monkeypatch.setattr(fake, "first_frame", lambda self, prompt: None, raising=False)
    with pytest.raises(UserError, match="model 'teacher' begins from text alone, and VBench-I2V"):
        rcm_bench.plan(str(image))


def table(values):
    """Samples and scores of one cell, from {dimension: value}."""
    import pandas as pd

    samples, scores = [], []
    for _, names in I2V_GROUPS:
        for p in range(4):
            item = f"{names[0]}-{p}"
            own = {"item_id": item, "prompt_id": item, "seed_index": 0, "task": "+".join(names)}
            samples.append({**own, "model": "m", "sampler": "s", "steps": 1})
            scores += [{"item_id": item, "metric": name, "value": values(name, p), "reason": None,
                        "details": "{}"} for name in names]  # fmt: skip
    return pd.DataFrame(samples), pd.DataFrame(scores)


@pytest.mark.parametrize("name", list(I2V_DIMENSIONS))
def test_normalisation_of_each_dimension_by_hand(name):
    """At the low end everywhere but one, at its high end: its weight over its part's, halved."""
    from rcm_bench.measured import cells
    from rcm_bench.statistics import value_of

    constants = I2V_DIMENSIONS
    samples, scores = table(lambda n, p: getattr(
        constants.get(n, constants[name]), "high" if n == name else "low"))  # fmt: skip
    measured = Benchmark().measure(samples, scores)
    value = {n: value_of(cells(measured[n])["m", "s", 1].clusters) for n in I2V_TOTALS}
    part = constants[name].part
    weight = {"camera_motion": 0.1, "dynamic_degree": 0.5}.get(name, 1.0)
    expected = weight / {"i2v": 2.1, "quality": 5.5}[part]
    assert value[part] == pytest.approx(expected, rel=1e-12)
    assert value["total"] == pytest.approx(expected / 2, rel=1e-12)


def test_a_missing_video_makes_its_totals_missing_never_zero():
    samples, scores = table(lambda n, p: 0.5)
    lost = scores[(scores["metric"] == "camera_motion")].index[0]
    withheld = {n: m.withheld for n, m in Benchmark().measure(samples, scores.drop(lost)).items()}
    why = {("m", "s", 1): "no total: no score for 1 videos in camera_motion"}
    assert withheld["total"] == withheld["i2v"] == why and not withheld["quality"]
    spare = scores[(scores["metric"] == "temporal_flickering")].index[0]
    whole = Benchmark().measure(samples, scores.drop(spare))
    assert not any(whole[name].withheld for name in I2V_TOTALS), "flickering is in no total"
    assert not math.isnan(whole["total"].rows["numerator"].sum())


def test_what_cannot_run_is_refused_by_name(image, tmp_path):
    def fails(old, new):
        image.write_text(SUITE.replace(old, new))
        with pytest.raises(UserError) as caught:
            rcm_bench.run(str(image), tmp_path / "none")
        return str(caught.value)

    lost = tmp_path / "images" / "crop" / "7-4" / "picture 1.jpg"
    data = lost.read_bytes()
    lost.unlink()
    said = fails("", "")
    assert "7-4: lacks 1 of VBench-I2V's 3 images ('picture 1.jpg')" in said
    assert "RCM_BENCH_I2V_IMAGES names the folder" in said
    lost.write_bytes(data)
    assert "needs vbench2_i2v_full_info.json of VBench's repository" in fails(
        ", info: i2v.json", ""
    )
    said = fails("samples_per", "preset: vbenchi2v, samples_per")
    assert "unknown VBench preset 'vbenchi2v'. Available: vbench-i2v" in said
    said = fails("{set: vbench_i2v, info: i2v.json, samples_per_prompt: 3}", "{file: own.txt}")
    assert "own.txt" in said
    (tmp_path / "own.txt").write_text("a prompt\n")
    said = fails("{set: vbench_i2v, info: i2v.json, samples_per_prompt: 3}", "{file: own.txt}")
    assert "is scored on VBench-I2V's own prompts" in said
    assert "is scored on VBench's own prompts" in fails("{vbench_i2v: {device: cpu, aspect: 7-4,",
                                                        "{vbench: {device: cpu,")  # fmt: skip
    assert "aspect" in fails("aspect: 7-4", "aspect: 4-3")
    assert not (tmp_path / "none").exists()


def test_results_of_another_benchmark_are_refused(image, tmp_path):
    suite = tmp_path / "again.yaml"
    suite.write_text(BROUGHT.replace("layout: vbench_i2v", "layout: vbench"))
    with pytest.raises(UserError, match=r"VBench's results need 'prompts: \{set: vbench\}'"):
        rcm_bench.plan(str(suite))
    path = tmp_path / "out" / "tables" / "vbench_i2v_teacher_flow_4_eval_results.json"
    path.parent.mkdir(parents=True)
    videos = [{"video_path": "x-0.mp4", "video_results": 0.5}]
    path.write_text(json.dumps({"scene": [0.5, videos]}))
    suite.write_text(BROUGHT)
    with pytest.raises(UserError, match="scene: belongs to VBench; expected i2v_subject, "):
        rcm_bench.plan(str(suite))


def _frozen(scorer):
    return replace(scorer, images=tuple(scorer.images))


def test_the_benchmark_names_what_vbench_i2v_has():
    assert set(Benchmark().asked()) == set(I2V)
    assert set(Benchmark.metrics) == {*I2V_TOTALS, *I2V}
    for name in I2V:
        said = "unverified: no real weights have run here" in Benchmark.metrics[name].about
        assert said == (name in Benchmark().delegates())
    assert [n for n, info in Benchmark.metrics.items() if info.headline] == [
        "total", "dynamic_degree"]  # fmt: skip
    native, *delegated = Benchmark(device="cpu").scorers()
    assert set(native.dimensions) == set(NATIVE) & set(I2V)
    assert [s.dimension for s in delegated] == list(Benchmark().delegates())
    assert {(s.aspect, s.images) for s in map(_frozen, delegated)} == {("16-9", ())}
    digests = {"a.jpg": "0" * 64}
    _, *own = Benchmark(device="cpu", aspect="1-1", images=digests).scorers()
    assert {(s.aspect, s.images) for s in map(_frozen, own)} == {("1-1", tuple(digests))}
    _, *text = TextBenchmark(device="cpu").scorers()
    assert {(s.aspect, s.images) for s in map(_frozen, text)} == {(None, ())}, "begin from no image"
    (only,) = Benchmark(dimensions=("temporal_flickering",)).scorers()
    assert only.needed() == (), "all videos are scored, without the static filter"


def test_messages_of_weights_name_the_benchmarks_own_key(built, tmp_path, monkeypatch):
    from rcm_bench.vbench.dimensions import WEIGHTS

    native, *delegated = Benchmark(device="cpu").scorers()
    name = native.needed()[-1]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(type(native.files), "digest", lambda self, name: None)
    with pytest.raises(UserError, match=r"add under benchmarks\.vbench_i2v\.weights: \{"):
        replace(native, folder=tmp_path).files.check(name)
    smooth = next(s for s in delegated if s.dimension == "motion_smoothness")
    pinned = dict.fromkeys(WEIGHTS["motion_smoothness"], "0" * 64)
    with pytest.raises(
        UserError, match=r"^benchmarks\.vbench_i2v\.weights: .*: expected SHA-256 0"
    ):
        replace(smooth, weights=pinned)._check_weights()
