"""gate: pass, fail, inconclusive against the teacher, a run and a baseline file; every message."""

import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from tiny_suite import ENOUGH, SUITE
from typer.testing import CliRunner

import rcm_bench
from rcm_bench.canonical import digest_of
from rcm_bench.cli import app
from rcm_bench.errors import UserError
from rcm_bench.evidence import CellKey, run_evidence
from rcm_bench.gates import judge
from rcm_bench.suite import Gate
from rcm_bench.timing_pairs import paired_rounds

METRIC = "brightness.mean"


def shown(*arguments):
    found = CliRunner().invoke(app, [*map(str, arguments)])
    return found.exit_code, found.stdout, found.stderr


def gates(text):
    return f"{SUITE}gates: {{{text}}}\n"


@pytest.mark.parametrize(
    ("margin", "outcome", "code"), [(0.1, "pass", 0), (0.001, "fail", 1), (0.04, "inconclusive", 3)]
)
def test_three_outcomes_against_the_teacher(runs, margin, outcome, code):
    """The student is darker by 10 % of 0.39."""
    run = runs(gates(f"{METRIC}: {{margin: {margin}, steps: [2]}}"))
    judged = rcm_bench.gate(run)
    (check,) = judged.checks
    assert (check.outcome, judged.outcome, check.model, check.steps) == (
        *(outcome, outcome), "student", 2,
    )  # fmt: skip
    assert check.low < check.loss < check.high and 0.02 < check.loss < 0.06
    assert check.reference == "teacher at 4 steps" and check.n == 24 and judged.remarks == []
    found, text, _ = shown("gate", run)
    assert found == code and text.splitlines()[-1] == outcome


def test_the_loss_is_that_of_the_paired_table(runs):
    import pandas as pd

    own = pd.read_csv(runs() / "tables" / "paired.csv").query("model == 'student'")
    checks = rcm_bench.gate(runs(), margin={METRIC: 0.1}).checks
    assert [c.loss for c in checks] == pytest.approx(list(-own["difference"]), rel=1e-9)
    assert [c.low for c in checks] == pytest.approx(list(-own["difference_high"]), rel=1e-9)
    assert [c.high for c in checks] == pytest.approx(list(-own["difference_low"]), rel=1e-9)


def test_lower_is_better_turns_the_loss_around(runs):
    run = run_evidence(runs())
    metric = run.metrics[METRIC]
    dark = replace(metric, info=replace(metric.info, higher_is_better=False))
    plain = judge({METRIC: Gate(margin=0.1)}, run)
    turned = judge({METRIC: Gate(margin=0.1)}, replace(run, metrics={METRIC: dark}))
    for a, b in zip(plain, turned, strict=True):
        assert (b.loss, b.low, b.high) == pytest.approx((-a.loss, -a.high, -a.low))
        assert b.outcome == "pass" and b.reason == "not worse by the margin"


def test_one_failure_fails_and_one_doubt_is_no_pass(runs):
    run = runs(gates(f"{METRIC}: {{margin: 0.1}}"))
    assert [c.outcome for c in rcm_bench.gate(run).checks] == ["pass", "pass"]
    judged = rcm_bench.gate(run)
    doubtful = replace(judged.checks[0], outcome="inconclusive")
    failed = replace(judged.checks[0], outcome="fail")
    assert replace(judged, checks=[*judged.checks, doubtful]).outcome == "inconclusive"
    assert replace(judged, checks=[doubtful, failed, *judged.checks]).outcome == "fail"


def test_a_margin_named_afterwards_is_said_to_be(runs):
    run = runs(gates(f"{METRIC}: {{margin: 0.1}}"))
    judged = rcm_bench.gate(run, margin={METRIC: 0.001})
    assert judged.outcome == "fail"
    assert judged.remarks == [
        "margins were named after the run was made, not declared by its suite"
    ]
    code, text, _ = shown("gate", run, "--margin", f"{METRIC}=0.001")
    assert code == 1 and "Note: margins were named after" in text


def test_an_incomplete_run_is_never_a_pass(runs):
    judged = rcm_bench.gate(runs(limit=21), margin={METRIC: 10.0})
    assert judged.outcome == "inconclusive"
    assert re.fullmatch(
        r"8 of 72 samples or their scores are missing in .+ \(student at 1 step\); see: status",
        judged.checks[0].reason,
    )


def test_failed_and_unscorable_samples_are_never_a_pass(runs):
    failing = runs(**{"level: 0.9": "level: 0.9, fail_on: number 3"})
    assert rcm_bench.gate(failing, margin={METRIC: 10.0}).outcome == "inconclusive"
    blind = runs(prompts=ENOUGH + "unscorable\n")
    judged = rcm_bench.gate(blind, margin={METRIC: 10.0})
    assert judged.outcome == "inconclusive"
    assert "3 of 75 samples or their scores are missing" in judged.checks[0].reason


def test_samples_that_a_scorer_gives_up_on_flatter_no_share(runs):
    """Stored and scored, but without a value: an accuracy over the rest is no pass."""
    run = run_evidence(runs())
    metric = run.metrics[METRIC]
    rows = metric.measured.rows.copy()
    rows.loc[rows.index[0], "n_missing"] = 1
    share = replace(metric, measured=replace(metric.measured, rows=rows, kind="proportion"))
    teacher = judge({METRIC: Gate(margin=0.9)}, replace(run, metrics={METRIC: share}))
    assert {c.outcome for c in teacher} <= {"inconclusive", "pass"}
    hit = [c for c in teacher if c.n_missing]
    assert hit and all(
        (c.outcome, c.reason)
        == ("inconclusive", "1 samples could not be scored: a share without them flatters")
        for c in hit
    )


def test_too_few_prompts_are_inconclusive(runs):
    few = runs(prompts="".join(ENOUGH.splitlines(keepends=True)[:19]))
    judged = rcm_bench.gate(few, margin={METRIC: 10.0})
    assert judged.outcome == "inconclusive"
    assert judged.checks[0].reason == ("no interval: 19 prompts, at least 20 are needed")


# --- baselines


@pytest.fixture(scope="module")
def baseline(runs, tmp_path_factory):
    return rcm_bench.baseline(runs(), tmp_path_factory.mktemp("b") / "main.json")


def test_a_baseline_file_judges_as_the_run_itself_does(runs, baseline):
    """The file holds all that the verdict needs, to the last digit."""
    worse = runs(**{"level: 0.9": "level: 0.8"})
    by_file = rcm_bench.gate(worse, baseline, margin={METRIC: 0.03})
    by_run = rcm_bench.gate(worse, runs(), margin={METRIC: 0.03})
    assert by_file.outcome == "fail" and by_file.against == str(baseline)
    for a, b in zip(by_file.checks, by_run.checks, strict=True):
        assert replace(a, reference="") == replace(b, reference="")
    assert by_file.checks[0].reference == f"student at 1 step in {baseline}"


def test_nothing_changed_passes_by_identity(runs, baseline):
    judged = rcm_bench.gate(runs(), baseline, margin={METRIC: 1e-9})
    assert judged.outcome == "pass"
    assert {(c.loss, c.low, c.high, c.reason) for c in judged.checks} == {
        (0.0, 0.0, 0.0, "the same samples")
    }


def test_a_model_that_the_baseline_lacks_is_inconclusive(runs, baseline):
    renamed = runs(**{"student:": "mine:"})
    judged = rcm_bench.gate(renamed, baseline, margin={METRIC: 1.0})
    assert judged.outcome == "inconclusive"
    assert judged.checks[0].reason == f"{baseline} has no mine at 1 step"


def test_other_prompts_are_inconclusive(runs, baseline):
    more = runs(prompts=ENOUGH + "one more prompt\n", **{"level: 0.9": "level: 0.8"})
    judged = rcm_bench.gate(more, baseline, margin={METRIC: 1.0})
    assert {(c.outcome, c.reason) for c in judged.checks} == {
        ("inconclusive", "24 prompts there and 25 prompts here")
    }


def test_the_file_is_small_and_the_same_every_time(runs, baseline, tmp_path):
    again = rcm_bench.baseline(runs(), tmp_path / "again.json")
    assert again.read_bytes() == baseline.read_bytes()
    assert baseline.stat().st_size < 12_000
    assert str(runs()) not in baseline.read_text()


def test_a_baseline_of_geneval_has_about_50_kilobytes():
    """553 prompts with 4 images each, 7 configurations, overall and six tasks."""
    import pandas as pd

    from rcm_bench.baseline_file import _body, _measured
    from rcm_bench.baseline_schema import MetricEntry
    from rcm_bench.benchmarks.geneval import TASKS, Benchmark
    from rcm_bench.canonical import canonical_json
    from rcm_bench.evidence import CellState, Evidence, Metric
    from rcm_bench.geneval_prompts import official_metadata
    from rcm_bench.measured import Measured
    from rcm_bench.prompt_sets import _records, prompt_key
    from rcm_bench.types import Reference

    prompts = _records(official_metadata(), "test")
    keys = [
        CellKey("teacher", "flow", 35),
        *(CellKey(m, "few", k) for m in "ab" for k in (1, 2, 4)),
    ]
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"model": k.model, "sampler": k.sampler, "steps": k.steps, "prompt_id": p.prompt_id,
         "stratum": p.task, "component": p.task, "numerator": float(n), "denominator": 4.0,
         "within": n * (4 - n) / 3, "n_samples": 4, "n_missing": 0}
        for k in keys for p, n in zip(prompts, rng.integers(0, 5, len(prompts)), strict=True)
    )  # fmt: skip
    info = Benchmark.metrics
    metrics = {
        "geneval.overall": Metric(
            info=info["overall"], measured=Measured(rows=rows, components=TASKS, kind="proportion")
        )
    }
    for task in TASKS:
        own = rows[rows["stratum"] == task].assign(component="")
        metrics[f"geneval.{task}"] = Metric(
            info=info[task], measured=Measured(rows=own, kind="proportion")
        )
    evidence = Evidence(
        label="x", suite="geneval", protocol={}, models={}, circumstances={},
        reference=Reference(model="teacher", steps=35),
        prompts={p.prompt_id: prompt_key(p) for p in prompts},
        cells={k: CellState(samples="0" * 64, planned=4, unsampled=0, unscored={}) for k in keys},
        metrics=metrics, timings={},
    )  # fmt: skip
    body = json.loads(canonical_json(_body(evidence)))
    back = _measured(MetricEntry(**body["metrics"][0]), keys, sorted(evidence.prompts)).rows
    merged = rows.merge(back, on=["model", "sampler", "steps", "prompt_id", "stratum", "component"])
    assert len(merged) == len(rows) == len(keys) * 553
    for column in ("numerator", "denominator", "within", "n_samples", "n_missing"):
        assert list(merged[f"{column}_x"]) == pytest.approx(list(merged[f"{column}_y"])), column
    size = len(canonical_json(body))
    assert 45_000 < size < 55_000, size


def damaged(path, target, edit):
    """Write a changed copy; ``edit`` may return text, or change the content and its digest."""
    content = json.loads(path.read_text())
    text = edit(content)
    if text is None:
        content.pop("digest")
        version, kind = content.pop("version"), content.pop("format")
        content |= {"digest": digest_of(content), "version": version, "format": kind}
        text = json.dumps(content)
    target.write_text(text)
    return target


def _later(content):
    content["version"] = 2


def _cut(content):
    return json.dumps(content)[:300]


def _flipped(content):
    content["suite"] = "other"
    return json.dumps(content)


def _unknown_key(content):
    content["pickle"] = "x"


def _negative(content):
    content["metrics"][0]["rows"][0]["denominator"] = -1


def _infinite(content):
    return json.dumps(content).replace('"planned": 72', '"planned": 1e999', 1)


def _foreign_prompt(content):
    content["metrics"][0]["places"][0]["prompt"][0] = 99


def _twice(content):
    places = content["metrics"][0]["places"][0]
    places["prompt"][1] = places["prompt"][0]


def _short(content):
    content["metrics"][0]["rows"][0]["numerator"].pop()


def _nobody(content):
    content["models"].pop("student")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_later, "expected a baseline of version 1, got 2; write it again with this version of "
                 "rcm_bench"),
        (_cut, "damaged, or not a baseline file: it is no JSON"),
        (_flipped, "damaged: its content does not have the digest that it names"),
        (_infinite, "damaged: its content does not have the digest that it names"),
        (lambda _: "[]", "not a baseline file; write one with: baseline RUN --out FILE"),
        (lambda _: "{}", "not a baseline file; write one with: baseline RUN --out FILE"),
        (_unknown_key, "unknown key 'pickle'. Available: cells, circumstances, metrics, models, "
                       "prompts, protocol, reference, suite."),
        (_negative, None),
        (_foreign_prompt, "damaged: list index out of range"),
        (_twice, "damaged: a prompt comes twice"),
        (_short, "damaged: columns of unequal lengths [23, 24]"),
        (_nobody, "damaged: nothing is said of model 'student'"),
    ],
)  # fmt: skip
def test_damaged_baselines(runs, baseline, tmp_path, edit, message):
    path = damaged(baseline, tmp_path / "damaged.json", edit)
    code, out, said = shown("gate", runs(), "--baseline", path, "--margin", f"{METRIC}=1")
    assert code == 2 and out == ""
    if message is None:
        assert "expected a number >= 0.0, got -1" in said
    else:
        assert said == f"error: {path}: {message}\n"


def test_a_baseline_of_an_incomplete_run_is_not_written(runs, tmp_path):
    part = runs(limit=21)
    code, _, said = shown("baseline", part, "--out", tmp_path / "b.json")
    assert code == 2 and not (tmp_path / "b.json").exists()
    assert said == (
        f"error: {part}: is limited or incomplete; a baseline must be whole. See what is "
        "missing with: status\n"
    )


def test_a_baseline_under_another_protocol_is_refused(runs, baseline, tmp_path):
    def rewritten(content):
        content["protocol"]["rewriting"] = "gpt-4o"

    path = damaged(baseline, tmp_path / "b.json", rewritten)
    code, _, said = shown("gate", runs(), "--baseline", path, "--margin", f"{METRIC}=1")
    assert (code, said) == (2, (
        f"error: {METRIC}: cannot be compared with {path}: rewriting is gpt-4o there and none "
        "here: the models were given other words\n"
    ))  # fmt: skip


def test_a_baseline_that_does_not_say_is_inconclusive(runs, baseline, tmp_path):
    def silent(content):
        del content["protocol"]["codec"]

    path = damaged(baseline, tmp_path / "b.json", silent)
    worse = runs(**{"level: 0.9": "level: 0.8"})
    judged = rcm_bench.gate(worse, path, margin={METRIC: 1.0})
    assert {(c.outcome, c.reason) for c in judged.checks} == {
        ("inconclusive", "codec is not recorded there and png-1 here: one side does not say")
    }


# --- messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{run}"],
            "{run}: its suite declares no gates; name a margin, such as: --margin "
            "brightness.mean=0.02",
        ),
        (["{tmp}"], "{tmp}: not a run folder: there is no manifest.json in it"),
        (
            ["{run}", "--margin", "brightness.mean"],
            "--margin: expected NAME=NUMBER, such as geneval.overall=0.02, got 'brightness.mean'",
        ),
        (
            ["{run}", "--margin", "brightness.mean=much"],
            "--margin: expected NAME=NUMBER, such as geneval.overall=0.02, got "
            "'brightness.mean=much'",
        ),
        (
            ["{run}", "--margin", "brightness.mean=-0.1"],
            "--margin brightness.mean: expected a number > 0, got -0.1",
        ),
        (
            ["{run}", "--margin", "brightness.mean=nan"],
            "--margin brightness.mean: expected a number > 0, got nan",
        ),
        (
            ["{run}", "--margin", "brightness.mean=1", "--margin", "brightness.mean=2"],
            "--margin brightness.mean: expected one margin, got two",
        ),
        (
            ["{run}", "--margin", "brightnes.mean=1"],
            "--margin: unknown metric 'brightnes.mean'. Available: brightness.mean. "
            "Did you mean 'brightness.mean'?",
        ),
        (
            ["{run}", "--baseline", "{tmp}/none.json", "--margin", "brightness.mean=1"],
            "{tmp}/none.json: no such run folder or baseline file",
        ),
        (
            ["{run}", "--margin", "brightness.mean=1", "--junit", "{file}/x.xml"],
            "{file}/x.xml: cannot be written (File exists: {file})",
        ),
    ],
)
def test_messages(runs, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    names = {"run": runs(), "tmp": tmp_path, "file": tmp_path / "file"}
    code, _, said = shown("gate", *(text.format(**names) for text in arguments))
    assert (code, said) == (2, f"error: {message.format(**names)}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "brightness.man: {margin: 1}",
            "gates.brightness.man: unknown metric 'brightness.man'. Available: brightness.mean. "
            "Did you mean 'brightness.mean'?",
        ),
        ("brightness.mean: {margin: -1}", "gates.brightness.mean.margin: expected a number > 0.0, "
                                          "got -1"),
        ("brightness.mean: {margin: 0}", "gates.brightness.mean.margin: expected a number > 0.0, "
                                         "got 0"),
        ("brightness.mean: {margn: 1}", None),
        ("brightness.mean: {}", "gates.brightness.mean: key 'margin' is missing"),
        ("brightness.mean: 0.1", "gates.brightness.mean: expected a mapping, got 0.1"),
        ("brightness.mean: {margin: .inf}", None),
        (
            "brightness.mean: {margin: 1, models: [studnt]}",
            "gates.brightness.mean.models[0]: unknown model 'studnt'. Available: student, teacher. "
            "Did you mean 'student'?",
        ),
        (
            "brightness.mean: {margin: 1, steps: [2, 8]}",
            "gates.brightness.mean.steps[1]: no gated model has 8 steps. Available: 1, 2.",
        ),
        ("brightness.mean: {margin: 1, steps: []}", "gates.brightness.mean.steps: expected at "
                                                    "least 1 entry, got []"),
    ],
)  # fmt: skip
def test_messages_of_the_suite(suite, text, message):
    path = suite(gates(text))
    with pytest.raises(UserError) as fault:
        rcm_bench.plan(str(path))
    line = len(SUITE.splitlines()) + 1
    if message is None:
        assert f"{path}:{line}: gates.brightness.mean" in str(fault.value)
    else:
        assert f"{path}:{line}: {message}" == str(fault.value)


def test_a_suite_of_a_teacher_alone_has_nothing_to_judge(runs):
    alone = runs(**{"  student: {kind: fake, sampler: few, level: 0.9}\n": ""})
    with pytest.raises(UserError, match="holds no student that a gate could judge"):
        rcm_bench.gate(alone, margin={METRIC: 1.0})


# --- latency


def timing(seconds, device="NVIDIA A", at="2026-01-01T00:00:00.001+00:00"):
    return {"seconds": list(seconds), "device": device, "at": at}


def test_times_are_compared_round_by_round():
    """A slow moment of the machine falls on both alike and leaves the difference as it is."""
    slow = np.array([1.0, 1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 1.0])
    found = paired_rounds([timing(slow + 0.1)], [timing(slow)])
    assert found.n == 8 and (found.low, found.difference, found.high) == pytest.approx((0.1,) * 3)
    assert (found.value, found.reference_value) == pytest.approx((1.1, 1.0))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [timing([1] * 8)], "not timed: run the suite with the benchmark 'latency'"),
        (
            [timing([1] * 8)],
            [timing([1] * 8, device="NVIDIA B")],
            "timed on two devices, NVIDIA A and NVIDIA B: times are not comparable",
        ),
        (
            [timing([1] * 8)],
            [timing([1] * 8, at="2026-01-01T00:10:00+00:00")],
            "not timed in the same rounds: time them in one run of the suite",
        ),
        ([timing([1] * 5)], [timing([1] * 5)], "5 rounds are too few for an interval"),
    ],
)
def test_times_that_cannot_be_compared(first, second, message):
    assert paired_rounds(first, second) == message


def timed(run):
    """Give a run times: the student takes 0.2 s less than the teacher."""
    seconds = {"teacher": 1.0, "student": 0.8}
    noise = np.random.default_rng(0).normal(0, 0.01, 8)
    times = {k: [timing(seconds[k.model] + noise)] for k in run.cells}
    protocol = {**run.protocol, "benchmarks": {**run.protocol["benchmarks"], "latency": {}}}
    return replace(run, timings=times, protocol=protocol)


def test_a_latency_gate_within_one_run(runs):
    run = timed(run_evidence(runs()))
    gate = {"latency.seconds_per_image": Gate(margin=0.01)}
    checks = judge(gate, run)
    assert {c.outcome for c in checks} == {"pass"} and checks[0].loss == pytest.approx(-0.2)
    assert checks[0].unit == "s/image" and checks[0].n == 8
    slow = replace(run, timings={k: [timing([1 + (k.model == "student")] * 8)] for k in run.cells})
    assert {c.outcome for c in judge(gate, slow)} == {"fail"}
    mixed = {k: [timing([1] * 8, device=k.model)] for k in run.cells}
    (check, _) = judge(gate, replace(run, timings=mixed))
    assert check.outcome == "inconclusive"
    assert check.reason.startswith("timed on two devices, student and teacher")


def test_a_latency_gate_against_another_run_is_refused(runs):
    run = timed(run_evidence(runs()))
    with pytest.raises(UserError) as fault:
        judge({"latency.seconds_per_image": Gate(margin=1)}, run, run)
    assert str(fault.value) == (
        "latency.seconds_per_image: two runs are not timed in the same rounds, so that times are "
        "gated within one run only; leave out --baseline, or name other gates with --margin"
    )


# --- files


def test_junit_and_summary(runs, tmp_path):
    run = runs(gates(f"{METRIC}: {{margin: 0.001}}"))
    junit, summary = tmp_path / "ci" / "junit.xml", tmp_path / "summary.md"
    code, _, _ = shown("gate", run, "--junit", junit, "--summary", summary)
    assert code == 1
    root = ElementTree.parse(junit).getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "2", "0")
    case = root.find("testcase")
    assert case.get("classname") == METRIC
    assert case.get("name") == "student at 1 step against teacher at 4 steps"
    failure = case.find("failure")
    assert failure.get("type") == "fail"
    assert failure.get("message").startswith("worse by more than the margin; worse by 0.0")
    lines = summary.read_text().splitlines()
    assert lines[0] == "## Gates of tiny: fail"
    assert all(line.startswith("| ❌ fail | brightness\\.mean | student |") for line in lines[4:])
    assert len({line.count("|") for line in lines[2:4]}) == 1 and len(lines) == 6


def test_an_inconclusive_check_is_an_error_in_junit(runs, tmp_path):
    run = runs(gates(f"{METRIC}: {{margin: 0.04, steps: [2]}}"))
    rcm_bench.gate(run, junit=tmp_path / "j.xml")
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "1")
    assert root.find("testcase/error").get("type") == "inconclusive"


def test_hostile_names_stay_text_in_files(runs, tmp_path):
    """Control characters have no place in XML, and a pipe would end a cell of Markdown."""
    name = '"a|b<script>\\u0001\\u202e`x` [y](z)"'
    run = runs(**{"student:": f"{name}:"})
    rcm_bench.gate(run, margin={METRIC: 1.0}, junit=tmp_path / "j.xml", summary=tmp_path / "s.md")
    case = ElementTree.parse(tmp_path / "j.xml").getroot().find("testcase")
    assert "a|b<script>‹U+0001›‹U+202E›" in case.get("name")
    lines = (tmp_path / "s.md").read_text().splitlines()
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:]}
    assert len(bars) == 1 and "<script>" not in "".join(lines).replace("\\<script\\>", "")


def test_a_run_in_a_copied_folder_gives_the_same_verdict(runs, tmp_path):
    copy = shutil.copytree(runs(), tmp_path / "elsewhere")
    here = rcm_bench.gate(runs(), margin={METRIC: 0.1}).checks
    assert rcm_bench.gate(copy, margin={METRIC: 0.1}).checks == here
