"""compare: what makes runs incomparable, in words; pairs by prompt; nothing refused in silence."""

import shutil
import subprocess
import sys

import pytest
from tiny_suite import ENOUGH, SUITE
from typer.testing import CliRunner

import rcm_bench
from rcm_bench.cli import app
from rcm_bench.comparability import differences, doubts, model_differences, obstacles
from rcm_bench.errors import UserError
from rcm_bench.evidence import run_evidence
from rcm_bench.run_pairs import measurements

ELSEWHERE = "".join(f"another prompt {i}\n" for i in range(24))


def shown(*arguments):
    found = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return found.exit_code, found.stdout, found.stderr


def test_a_run_against_itself_has_the_same_samples(runs, tmp_path):
    copy = shutil.copytree(runs(), tmp_path / "copy")
    compared = rcm_bench.compare(runs(), copy)
    (entry,) = compared.against
    assert entry.protocol == [] and entry.refused == [] and compared.done
    assert entry.paired["same_samples"].all() and (entry.paired["difference"] == 0).all()
    assert entry.paired["p"].isna().all() and (entry.paired["tied"] == True).all()  # noqa: E712
    code, text, _ = shown(runs(), copy)
    assert code == 0
    assert "Protocol: nothing that a benchmark fixes differs" in text
    assert "The same samples in both: teacher at 1, 4 steps" in text
    assert "The same samples in both: student at 1, 2 steps" in text


def test_pairs_are_those_of_the_runs_own_table(runs):
    """Student against teacher, of one run by aggregation and of two runs by compare."""
    import pandas as pd

    paired = rcm_bench.compare(runs(), runs(), reference="teacher@4").paired
    own = pd.read_csv(runs() / "tables" / "paired.csv")
    both = own.merge(paired, on=["benchmark", "metric", "model", "steps"], suffixes=("", "_2"))
    assert len(both) == len(own) == 3
    for column in ("difference", "difference_low", "difference_high", "p"):
        assert list(both[column]) == pytest.approx(list(both[f"{column}_2"]), rel=1e-9)


@pytest.mark.parametrize("population", ["new prompts", "same prompts"])
def test_a_runs_numbers_have_the_intervals_of_its_own_table(runs, population):
    """Beside published ones they stood with intervals of new prompts, whatever the run says."""
    import pandas as pd

    given = f"steps: [1, 2]\nprotocol: {{population: {population}}}\n"
    folder = runs(**{"steps: [1, 2]\n": given})
    own = pd.read_csv(folder / "tables" / "measurements.csv")
    both = own.merge(
        measurements(run_evidence(folder)), on=["benchmark", "metric", "model", "steps"]
    )
    assert len(both) == 4 and (both["low_x"] < both["high_x"]).all()
    for column in ("value", "low", "high"):
        assert list(both[f"{column}_x"]) == pytest.approx(list(both[f"{column}_y"]), rel=1e-12)


def test_other_weights_are_what_is_compared(runs):
    first, worse = runs(), runs(**{"level: 0.9": "level: 0.7"})
    compared = rcm_bench.compare(first, worse)
    (entry,) = compared.against
    assert entry.protocol == [] and compared.done
    (said,) = entry.models["student", "student"]
    assert (said.part, said.effect) == ("weights", "compared") and said.first != said.other
    assert entry.models["teacher", "teacher"] == []
    rows = entry.paired.set_index(["model", "steps"])
    assert rows.loc[("teacher", 4), "same_samples"]
    student = rows.loc[("student", 2)]
    assert (
        student["difference_high"] < 0 and student["tied"] is False and student["n_prompts"] == 24
    )
    code, text, _ = shown(first, worse)
    assert code == 0 and "Compared: student: weights (" in text and "differs" in text


def test_pairs_by_prompt_whatever_its_place_in_the_file(runs):
    """Equal samples have the same digest although every prompt id differs."""
    turned = runs(prompts="".join(reversed(ENOUGH.splitlines(keepends=True))))
    (entry,) = rcm_bench.compare(runs(), turned).against
    assert entry.protocol == [] and entry.paired["n_unpaired"].sum() == 0
    # The fake model leaves the batch's size in its samples: which prompts share one has changed.
    values = entry.paired[["value", "reference_value"]]
    assert (values["value"] - values["reference_value"]).abs().max() < 0.01


def test_only_common_prompts_are_compared_and_counted(runs):
    more = runs(prompts=ENOUGH + "one more prompt\n")
    (entry,) = rcm_bench.compare(runs(), more).against
    (said,) = (d for d in entry.protocol if d.effect == "narrowed")
    assert said.why == "only the 24 that both have are compared"
    assert set(entry.paired["n_prompts"]) == {24} and set(entry.paired["n_unpaired"]) == {1}


def test_runs_without_a_common_prompt_are_refused(runs):
    compared = rcm_bench.compare(runs(), runs(prompts=ELSEWHERE))
    (entry,) = compared.against
    assert not len(entry.paired) and not compared.done
    assert entry.refused == [
        "brightness is not compared: prompts is 24 prompts in the first run and 24 prompts in this "
        "one: they have no prompt in common"
    ]
    code, text, _ = shown(runs(), runs(prompts=ELSEWHERE))
    assert code == 4 and "Refused: brightness is not compared" in text


def test_another_failure_policy_is_refused(runs):
    strict = runs(**{"run: {": "run: {failures: score_zero, "})
    compared = rcm_bench.compare(runs(), strict)
    assert not len(compared.paired)
    assert compared.against[0].refused == [
        "brightness is not compared: failures is exclude_and_flag in the first run and score_zero "
        "in this one: a failed sample counts for something else"
    ]


def changed(evidence, **protocol):
    from dataclasses import replace

    kept = {k: v for k, v in evidence.protocol.items() if protocol.get(k, "") is not None}
    return replace(evidence, protocol={**kept, **{k: v for k, v in protocol.items() if v}})


@pytest.mark.parametrize("part", ["rewriting", "negative_prompt", "codec", "aggregation", "frames"])
def test_parts_that_every_benchmark_fixes(runs, part):
    first = changed(run_evidence(runs()), **{part: "one"})
    found = differences(first, changed(first, **{part: "other"}))
    assert [(d.part, d.first, d.other) for d in obstacles(found, "brightness")] == [
        (part, "one", "other")
    ]
    silent = differences(first, changed(first, **{part: None}))
    assert obstacles(silent, "brightness") == []
    assert [(d.other, d.why) for d in doubts(silent, "brightness")] == [
        ("not recorded", "one side does not say")
    ]


def test_unknown_parts_leave_a_comparison_unverified(runs):
    first = changed(run_evidence(runs()), moon="full")
    found = differences(first, changed(first, moon="new"))
    assert [(d.part, d.effect) for d in found] == [("moon", "not verified")]
    assert found[0].why == "this version does not know what it does to a score"


@pytest.mark.parametrize(("part", "value"), [("seeds", "other"), ("noise", "gpu"), ("name", "x")])
def test_parts_that_no_benchmark_fixes(runs, part, value):
    first = run_evidence(runs())
    (found,) = differences(first, changed(first, **{part: value}))
    assert (found.part, found.effect) == (part, "harmless")


def test_another_scorer_version_concerns_its_benchmark_alone(runs):
    first = run_evidence(runs())
    scorers = {"brightness": {**first.protocol["scorers"]["brightness"], "version": "2"}}
    found = differences(first, changed(first, scorers=scorers))
    assert [(d.benchmark, d.part, d.first, d.other) for d in found] == [
        ("brightness", "scorer version", "1", "2")
    ]
    assert obstacles(found, "brightness") and not obstacles(found, "geneval")


def test_machines_and_batch_sizes_do_not_matter(runs):
    from dataclasses import replace

    first = run_evidence(runs())
    other = replace(
        first, circumstances={**first.circumstances, "device": "NVIDIA X", "batch_size": 1}
    )
    found = differences(first, other)
    assert [(d.part, d.effect) for d in found] == [
        ("device", "harmless"),
        ("batch_size", "harmless"),
    ]
    slow = differences(first, changed(first, prompts={**first.protocol["prompts"],
                                                      "samples_per_prompt": 9}))  # fmt: skip
    assert [(d.part, d.effect) for d in slow] == [("samples per prompt", "harmless")]


def test_a_resolution_forbids_detail_only(runs):
    from dataclasses import replace

    first = run_evidence(runs())
    big = {**first.models["teacher"]["identity"], "resolution": [16, 16]}
    other = replace(
        first, models={**first.models, "teacher": {**first.models["teacher"], "identity": big}}
    )
    found = model_differences(first, "teacher", other, "teacher")
    assert obstacles(found, "geneval") == []
    assert [d.part for d in obstacles(found, "detail")] == ["resolution"]


def test_a_metric_of_other_parts_is_another_quantity(runs):
    from dataclasses import replace

    from rcm_bench.run_pairs import compare_sides

    first = run_evidence(runs())
    metric = first.metrics["brightness.mean"]
    other = replace(metric, measured=replace(metric.measured, components=("red", "green")))
    with pytest.raises(UserError) as fault:
        compare_sides(first, replace(first, metrics={"brightness.mean": other}))
    assert str(fault.value) == (
        f"brightness.mean: {runs()} makes it of one part (mean) and {runs()} of red, green (mean): "
        "these are two quantities"
    )


def test_an_incomplete_run_says_so(runs):
    part = runs(limit=21)
    compared = rcm_bench.compare(runs(), part)
    assert not compared.done
    # Batches of 8 are made whole: 64 of each configuration's 72 samples are there.
    assert compared.against[0].remarks == [
        f"{part} is limited or incomplete: 32 samples are missing"
    ]
    assert set(compared.paired["n_missing"]) == {8}
    assert shown(runs(), part)[0] == 4


def test_three_runs_against_the_first(runs):
    worse = runs(**{"level: 0.9": "level: 0.7"})
    compared = rcm_bench.compare(runs(), worse, runs())
    assert [entry.run for entry in compared.against] == [str(worse), str(runs())]
    assert set(compared.paired["run"]) == {str(worse), str(runs())}


def test_a_teacher_of_one_run_against_students_of_another(runs):
    """Names need not agree: every configuration is compared with the one that is named."""
    renamed = runs(**{"student:": "mine:"})
    paired = rcm_bench.compare(runs(), renamed, reference="teacher").paired
    assert set(zip(paired["reference_model"], paired["reference_steps"], strict=True)) == {
        ("teacher", 4)
    }
    assert set(paired["model"]) == {"teacher", "mine"}
    (entry,) = rcm_bench.compare(runs(), renamed).against
    assert "not in the first run: mine at 1 step, mine at 2 steps" in entry.remarks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}"], "compare: expected two runs or more, or one and --published, got 1"),
        (
            ["{run}", "{run}", "--reference", "teachr"],
            "--reference: unknown model 'teachr'. Available: student, teacher. "
            "Did you mean 'teacher'?",
        ),
        (
            ["{run}", "{run}", "--reference", "teacher@3"],
            "--reference: model 'teacher' has steps 1, 4, got '3'",
        ),
        (["{run}", "{tmp}"], "{tmp}: not a run folder: there is no manifest.json in it"),
        (
            ["{run}", "{other}"],
            "{other}: no model of it is in {run} at the same number of steps; name what to compare "
            "with, as in: --reference teacher. There: student, teacher; here: master, pupil",
        ),
    ],
)
def test_messages(runs, tmp_path, arguments, message):
    renamed = {"teacher:": "master:", "student:": "pupil:"}
    names = {"run": runs(), "tmp": tmp_path, "other": runs(**renamed)}
    code, _, said = shown(*(text.format(**names) for text in arguments))
    assert (code, said) == (2, f"error: {message.format(**names)}\n")


def test_hostile_names_stay_text(runs):
    hostile = runs(**{"student:": '"[red]x[/red] <b>\\u202e=1+1":'})
    code, text, _ = shown(runs(), hostile, "--reference", "teacher")
    assert code == 0 and "[red]x[/red] <b>" in text


MOST_MODULES = 1000  # 890 with numpy 2.4, scipy 1.17 and pandas 3.1; each costs about a millisecond
HEAVY = ("torch", "matplotlib", "jinja2", "PIL", "scipy.optimize", "scipy.stats", "scipy.linalg")


def test_compare_and_gate_import_little(runs, environment):
    """People wait for these two; most of the waiting is for imports."""
    code = (
        "import sys, rcm_bench\n"
        "rcm_bench.compare(sys.argv[1], sys.argv[1], reference='teacher')\n"
        "rcm_bench.gate(sys.argv[1], margin={'brightness.mean': 0.5})\n"
        "from rcm_bench.benchmarks import detail, diversity, geneval, latency\n"
        "slots = [{'xy': [n, n], 'radius': 1, 'color': 'red', 'free': False} for n in range(4)]\n"
        "scene = {'slots': slots, 'exchangeable': True, 'tone': 0.5}\n"
        "diversity.gaps(scene, scene)\n"
        "print(*sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(runs())]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert not set(HEAVY) & set(loaded)
    assert len(loaded) < MOST_MODULES


def test_changed_gates_do_not_freeze_a_run(runs, suite, tmp_path):
    """Gates change no sample: the run goes on, and says that its own gates hold."""
    out = tmp_path / "out"
    rcm_bench.run(str(suite()), out)
    calls = len(list((out / "records").iterdir()))
    again = rcm_bench.run(str(suite(SUITE + "gates: {brightness.mean: {margin: 0.1}}\n")), out)
    assert len(list((out / "records").iterdir())) == calls
    assert again.remarks == [
        "the suite's gates changed after this run was frozen and do not hold for it; see "
        "'gate --margin'"
    ]
    with pytest.raises(UserError, match="its suite declares no gates"):
        rcm_bench.gate(out)
