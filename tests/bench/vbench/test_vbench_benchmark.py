"""VBench as a benchmark: planned, scored by the stand-in, joined; what is missing stays missing."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from vbench_stand_in import row
from vbench_suite import SUITE, numbers

import rcm_bench
from rcm_bench.aggregate import aggregate
from rcm_bench.benchmarks.vbench import Benchmark
from rcm_bench.errors import UserError
from rcm_bench.measured import cells, ratio_per_prompt
from rcm_bench.planning import Plan
from rcm_bench.scoring import scores_per_sample
from rcm_bench.statistics import value_of
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, NAMES, TOTALS, totals
from rcm_bench.types import PromptRecord, Reference, WorkItem
from rcm_bench.vbench import dimensions as known


def by_hand(run_dir, model):
    """Raw dimensions of a model from its stored files, by the stand-in's rows."""
    from rcm_bench.finish import open_run
    from rcm_bench.tables import run_tables

    opened = open_run(run_dir)
    samples = run_tables(opened.plan, opened.store.index(), opened.benchmarks).samples
    own = samples[samples["model"] == model]
    metadata = {p.prompt_id: p.metadata["vbench"]["dimensions"] for p in opened.plan.prompts}
    raw = []
    for name in NAMES:
        top = bottom = 0.0
        for sample in own.itertuples():
            if name not in metadata[sample.prompt_id]:
                continue
            found = row(name, run_dir / sample.blob)
            if found is None:
                continue
            frames = found.get("frame_results")
            if "frame_count" in found:
                top, bottom = top + found["success_frame_count"], bottom + found["frame_count"]
            elif frames:
                top, bottom = top + sum(frames), bottom + len(frames)
            else:
                scale = 0.01 if name == "imaging_quality" else 1
                top, bottom = top + scale * float(found["video_results"]), bottom + 1
        raw.append(top / bottom)
    opened.store.close()
    return np.array(raw)


def failures_of(run_dir):
    from rcm_bench.finish import open_run
    from rcm_bench.tables import run_tables

    opened = open_run(run_dir)
    found = run_tables(opened.plan, opened.store.index(), opened.benchmarks).failures
    opened.store.close()
    return found


def test_all_sixteen_dimensions_and_totals_by_hand(video, tmp_path):
    """By hand; and a report needs neither the environment nor the weights."""
    outcome = rcm_bench.run(str(video), tmp_path / "out")
    assert outcome.whole
    written = {path.name for path in (tmp_path / "out" / "tables").glob("vbench_*")}
    ends = ("_eval_results.json", "_full_info.json", ".zip")
    assert written == {f"vbench_{m}{end}" for m in ("teacher_flow_4", "student_few_1")
                       for end in ends}  # fmt: skip
    for model in ("teacher", "student"):
        raw = by_hand(tmp_path / "out", model)
        found = numbers(outcome, model)
        for name, value in zip(NAMES, raw, strict=True):
            assert found.loc[name, "value"] == pytest.approx(value, rel=1e-9), name
        for name, value in totals(raw).items():
            assert found.loc[name, "value"] == pytest.approx(float(value), rel=1e-9), name
            assert found.loc[name, "low"] < value < found.loc[name, "high"]
    assert (found.loc["scene", "n_samples"], found.loc["scene", "n_missing"]) == (25, 0)
    shutil.rmtree(tmp_path / "weights")
    shutil.rmtree(tmp_path / "environment")
    pd.testing.assert_frame_equal(found, numbers(rcm_bench.score(tmp_path / "out"), "student"))
    headlines = [n for n, info in Benchmark().metrics.items() if info.headline]
    assert headlines == ["total", "dynamic_degree"]


def test_a_failed_dimension_is_missing_and_comes_back(video, tmp_path, monkeypatch):
    """The other is kept, this one fails with its reason and is run again, alone."""
    wrong = tmp_path / "weights" / known.WEIGHTS["scene"][0]
    monkeypatch.setattr(Benchmark, "check_prompts", lambda self, prompts, where: None)
    wrong.rename(wrong.with_suffix(".away"))
    video.write_text(SUITE.replace("{device: cpu", "{dimensions: [scene, color], device: cpu"))
    outcome = rcm_bench.run(str(video), tmp_path / "out")
    assert not outcome.whole and not outcome.done
    found = numbers(outcome)
    for name in ("total", "semantic"):
        assert math.isnan(found.loc[name, "value"])
        assert found.loc[name, "method"].startswith("no total")
    assert "scene" not in found.index or math.isnan(found.loc["scene", "value"])
    assert not math.isnan(found.loc["color", "value"])
    failures = failures_of(tmp_path / "out")
    assert set(failures["stage"]) == {"score"}
    assert failures["message"].str.contains("no weights at").all()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "vbench").rglob("result.json")}
    wrong.with_suffix(".away").rename(wrong)
    outcome = rcm_bench.score(tmp_path / "out")
    assert outcome.whole and not math.isnan(numbers(outcome).loc["scene", "value"])
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "vbench").rglob("result.json")}
    assert before.items() < after.items()
    assert [p.parent.name.split("-")[0] for p in after.keys() - before.keys()] == ["scene"] * 2


def test_a_subset_has_no_total(video, tmp_path):
    text = video.read_text().replace("{device: cpu", "{dimensions: [scene, color], device: cpu")
    video.write_text(text)
    found = numbers(rcm_bench.run(str(video), tmp_path / "out"))
    assert {"scene", "color"} < set(found.index) <= {"scene", "color", *TOTALS}
    assert found.loc["total", "method"].startswith(
        "no total: nothing scored in subject_consistency"
    )
    assert math.isnan(found.loc["total", "value"])


def test_custom_input_scores_any_prompts(video, tmp_path):
    text = video.read_text().replace("{device: cpu", "{mode: custom_input, dimensions: "
                                     "[motion_smoothness, human_action], device: cpu")  # fmt: skip
    text = text.replace("{set: vbench, info: info.json, preset: five-unfiltered}",
                        "{file: own.txt, samples_per_prompt: 7}")  # fmt: skip
    (tmp_path / "own.txt").write_text("".join(f"my prompt {i}\n" for i in range(8)))
    video.write_text(text)
    found = numbers(rcm_bench.run(str(video), tmp_path / "out"))
    assert set(found.index) == {"motion_smoothness", "human_action"}
    assert (found["n_samples"] == 56).all()


def test_what_cannot_run_is_refused_before_sampling(video, tmp_path, built):
    video.write_text(SUITE.replace("{device", "{mode: custom_input, device"))
    with pytest.raises(UserError, match="are judged by what VBench's own prompts say"):
        rcm_bench.run(str(video), tmp_path / "out")
    video.write_text(SUITE.replace("{device", "{weights: {'amt/amt.pth': abc}, device"))
    with pytest.raises(UserError, match="unknown file 'amt/amt.pth'.* Did you mean 'amt_model"):
        rcm_bench.run(str(video), tmp_path / "out")
    video.write_text(SUITE)
    (tmp_path / "weights" / "amt_model" / "amt-s.pth").unlink()
    with pytest.raises(UserError, match=r"motion_smoothness: no weights at .*amt-s.pth"):
        rcm_bench.run(str(video), tmp_path / "out")
    text = SUITE.replace("{set: vbench, info: info.json, preset: five-unfiltered}",
                         "{file: own.txt}")  # fmt: skip
    (tmp_path / "own.txt").write_text("my prompt\n")
    video.write_text(text)
    with pytest.raises(UserError, match="is scored on VBench's own prompts; give 'prompts: {set:"):
        rcm_bench.run(str(video), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pinned_weights_are_checked(video, tmp_path):
    wrong = "0" * 64
    pins = "{dimensions: [motion_smoothness], weights: {amt_model/amt-s.pth: '" + wrong + "'}"
    video.write_text(SUITE.replace("{device", pins + ", device"))
    outcome = rcm_bench.run(str(video), tmp_path / "out")
    failures = failures_of(tmp_path / "out")
    assert not outcome.whole
    assert failures["message"].str.contains("amt-s.pth: expected SHA-256 0000000000000000").all()


def table(scores):
    """Samples and scores of one cell each for teacher and student, from {dimension: values}."""
    samples, made = [], []
    for model in ("teacher", "student"):
        for _, names in GROUPS:
            for p in range(6):
                for k in range(2):
                    item = f"{model}-{names[0]}-{p}-{k}"
                    samples.append({"item_id": item, "model": model, "sampler": "s", "steps": 1,
                                    "prompt_id": f"{names[0]}-{p}", "prompt": "x", "seed_index": k,
                                    "task": "+".join(names)})  # fmt: skip
                    for name in names:
                        value = scores(model, name, p, k)
                        reason = None
                        if isinstance(value, str):
                            value, reason = None, value
                        made.append({"item_id": item, "metric": name, "value": value,
                                     "reason": reason, "details": "{}"})  # fmt: skip
    frame = pd.DataFrame(made)
    return pd.DataFrame(samples), frame.assign(value=frame["value"].astype(float))


def aggregated(scores):
    samples, made = table(scores)
    found = aggregate(samples, made, [Benchmark()], Reference(model="teacher", steps=1), "p")
    own = found.measurements[found.measurements["model"] == "student"]
    return own.set_index("metric"), found.paired.set_index("metric")


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_of_each_dimension_by_hand(name):
    """At the low end everywhere but one, at its high end: weight over its part's, by 4/5 or 1/5."""
    expected = {"quality": 1 / 6.5, "semantic": 1 / 9}[DIMENSIONS[name].part]
    if name == "dynamic_degree":
        expected /= 2
    share = 0.8 if DIMENSIONS[name].part == "quality" else 0.2
    samples, made = table(
        lambda model, n, p, k: DIMENSIONS[n].high if n == name else DIMENSIONS[n].low
    )
    measured = Benchmark().measure(samples, made)
    value = {
        total: value_of(cells(measured[total])["student", "s", 1].clusters) for total in TOTALS
    }
    assert value[DIMENSIONS[name].part] == pytest.approx(expected, rel=1e-12)
    assert value["total"] == pytest.approx(share * expected, rel=1e-12)
    own = value_of(cells(measured[name])["student", "s", 1].clusters)
    assert own == pytest.approx(DIMENSIONS[name].high, rel=1e-12)


def test_a_missing_video_makes_the_total_missing_and_a_dropped_one_does_not():
    rng = np.random.default_rng()

    def scores(model, name, p, k, reason=None):
        if (model, name, p, k) == ("student", "color", 2, 1) and reason:
            return reason
        return float(rng.uniform(0.2, 0.9))

    found, paired = aggregated(lambda *a: scores(*a, reason="cannot be decoded"))
    assert math.isnan(found.loc["total", "value"]) and math.isnan(found.loc["semantic", "value"])
    assert found.loc["total", "method"] == "no total: no score for 1 videos in color"
    assert not math.isnan(found.loc["quality", "value"])
    assert math.isnan(paired.loc["total", "difference"])
    assert found.loc["color", "n_missing"] == 1
    samples, made = table(lambda *a: scores(*a, reason="cannot be decoded"))
    sums = Benchmark().measure(samples, made)["total"].rows
    assert set(sums.loc[sums["component"] == "color", "model"]) == {"teacher"}
    left_out = "VBench leaves it out: the object is in no frame"
    found, paired = aggregated(lambda model, *a: scores("student", *a, reason="cannot be decoded")
                               if model == "teacher" else scores(model, *a))  # fmt: skip
    assert not math.isnan(found.loc["total", "value"])  # the student's own is whole
    assert math.isnan(paired.loc["total", "difference"])
    assert paired.loc["total", "method"] == "no total: no score for 1 videos in color"
    found, paired = aggregated(lambda *a: scores(*a, reason=left_out))
    assert not math.isnan(found.loc["total", "value"])
    assert not math.isnan(paired.loc["total", "difference"])
    assert found.loc["color", "n_missing"] == 1


def test_flickering_counts_five_static_videos_of_each_prompt():
    from rcm_bench.vbench.measures import measure

    rows = [{"item_id": f"{p}-{k}", "model": "m", "sampler": "s", "steps": 1, "prompt_id": p,
             "seed_index": k, "task": "temporal_flickering"}
            for p in ("a", "b") for k in range(25)]  # fmt: skip
    static = {"a": {1, 10, 11, 12, 13}, "b": {3, 4}}
    left_out = "VBench leaves it out: not among the first five static videos of its prompt"
    scores = [
        {"item_id": r["item_id"], "metric": "temporal_flickering", "details": "{}",
         "value": r["seed_index"] / 100 if r["seed_index"] in static[r["prompt_id"]] else np.nan,
         "reason": None if r["seed_index"] in static[r["prompt_id"]] else left_out}
        for r in rows
    ]  # fmt: skip
    found = measure(pd.DataFrame(rows), pd.DataFrame(scores), ["temporal_flickering"])
    sums = found["temporal_flickering"].rows.set_index("prompt_id")
    assert list(sums["numerator"]) == pytest.approx([0.47, 0.07])
    assert list(sums["denominator"]) == [5, 2]
    assert list(sums["n_missing"]) == [0, 3]
    assert not found["total"].withheld


def test_natively_the_first_five_static_videos_count_in_the_order_of_names():
    from rcm_bench.scorers.vbench_native import NOT_ASKED
    from rcm_bench.vbench.measures import measure

    rows = [{"item_id": f"{m}-{k}", "model": m, "sampler": "s", "steps": 1, "prompt_id": "a",
             "seed_index": k, "task": "temporal_flickering"}
            for m in ("m", "n") for k in range(25)]  # fmt: skip
    static = {"m": {2, 3, 9, 10, 12, 20, 21}, "n": {0, 24}}
    scores = [{"item_id": r["item_id"], "metric": "temporal_flickering",
               "value": r["seed_index"] / 100, "reason": None,
               "details": json.dumps({"static": r["seed_index"] in static[r["model"]]})}
              for r in rows]  # fmt: skip
    found = measure(pd.DataFrame(rows), pd.DataFrame(scores), ["temporal_flickering"])
    sums = found["temporal_flickering"].rows.set_index("model")
    # Of m: 10, 12, 2, 20, 21 in the order of names; 3 and 9 come too late.
    assert list(sums["numerator"]) == pytest.approx([0.65, 0.24])
    assert list(sums["denominator"]) == [5, 2] and list(sums["n_missing"]) == [0, 3]
    for score, made in zip(scores, rows, strict=True):
        if made["model"] == "m" and f"{made['seed_index']}.mp4" > "21.mp4":
            score["details"] = json.dumps({"static": NOT_ASKED})  # as after five static ones
    again = measure(pd.DataFrame(rows), pd.DataFrame(scores), ["temporal_flickering"])
    pd.testing.assert_frame_equal(again["temporal_flickering"].rows.set_index("model"), sums)
    for score in scores:
        score["details"] = "{}"  # without the filter all count
    found = measure(pd.DataFrame(rows), pd.DataFrame(scores), ["temporal_flickering"])
    assert list(found["temporal_flickering"].rows["denominator"]) == [25, 25]


def test_a_totals_variance_over_seeds_is_that_of_its_own_numerators():
    """Turn each video's value first and sum afterwards: the same sums and the same variance."""
    rng = np.random.default_rng()
    samples, made = table(lambda *_: float(rng.uniform(0, 1)))
    name = "motion_smoothness"
    measured = Benchmark().measure(samples, made)
    found = measured["quality"].rows.query("component == @name").set_index(["model", "prompt_id"])
    own = samples[samples["task"].str.contains(name)].merge(made[made["metric"] == name])
    slope = 7 / 6.5 / (0.9975 - 0.706)  # seven dimensions; weight 1 of 6.5
    turned = own.assign(top=slope * (own["value"] - 0.706), bottom=1.0)
    expected = ratio_per_prompt(turned).set_index(["model", "prompt_id"])
    for column in ("numerator", "denominator", "within"):
        assert list(found[column]) == pytest.approx(list(expected[column]), rel=1e-9), column


def test_the_scorer_owes_scores_to_its_own_prompts_only():
    own, foreign = (
        PromptRecord(prompt_id=n, text=n, task=n, metadata={"vbench": {"dimensions": [n]}})
        for n in ("scene", "color")
    )
    (scorer,) = Benchmark(dimensions=("scene",)).scorers()
    assert scorer.applies(own) and not scorer.applies(foreign)
    items = [WorkItem(**dict.fromkeys(WorkItem.__dataclass_fields__, "")) for _ in range(3)]
    items = [
        replace(item, prompt_id=n)
        for item, n in zip(items, ("scene", "color", "color"), strict=True)
    ]
    plan = Plan(suite=None, prompts=[own, foreign], identities={}, items=items)
    assert scores_per_sample(plan, [Benchmark(dimensions=("scene",))]) == pytest.approx(1 / 3)
    assert not scorer.applies(PromptRecord(prompt_id="x", text="x", task="prompt"))


def test_seven_are_native_unless_the_suite_says_otherwise(built):
    native, *delegated = Benchmark(device="cpu", mode="vbench_standard").scorers()
    assert native.name == "vbench_native" and set(native.dimensions) == set(known.NATIVE)
    assert [s.dimension for s in delegated] == list(known.DELEGATED)
    few = Benchmark(dimensions=("scene", "dynamic_degree"), delegated=("dynamic_degree",))
    assert [s.name for s in few.scorers()] == [
        "vbench_delegated.dynamic_degree", "vbench_delegated.scene"]  # fmt: skip
    own = PromptRecord(prompt_id="x", text="x", task="x", metadata={"vbench": {}})
    with pytest.raises(UserError, match="raft-things.pth"):
        Benchmark(dimensions=("dynamic_degree",)).check_prompts(
            [own], "here"
        )  # no digest is named for it
    Benchmark(dimensions=("scene",)).check_prompts([own], "here")


def test_each_delegated_dimension_is_called_unverified():
    for name, info in Benchmark.metrics.items():
        said = "unverified: no real weights have run here" in info.about
        assert said == (name in known.DELEGATED)


def test_the_benchmark_names_what_the_package_has():
    assert Benchmark().asked() == NAMES
    assert set(Benchmark().delegates()) == set(known.DELEGATED)
    assert set(Benchmark.metrics) == {*TOTALS, *NAMES}
