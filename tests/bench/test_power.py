"""power: prompts and seeds for a margin, from a pilot or from planning values; every message."""

import math

import pytest
from tiny_suite import SUITE
from typer.testing import CliRunner

import rcm_bench
from rcm_bench.cli import app
from rcm_bench.shipped import shipped

METRIC = "brightness.mean"
SUITES = ", ".join(sorted(path.stem for path in shipped("suites").glob("*.yaml")))


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pilot")
    prompts = "".join(f"prompt number {i}\n" for i in range(12))
    (folder / "prompts.txt").write_text(prompts)
    (folder / "tiny.yaml").write_text(f"{SUITE}gates: {{{METRIC}: {{margin: 0.01, steps: [2]}}}}\n")
    rcm_bench.run(str(folder / "tiny.yaml"), folder / "out")
    return folder / "out"


def shown(*arguments):
    found = CliRunner().invoke(app, ["power", *map(str, arguments)])
    return found.exit_code, found.stdout, found.stderr


def test_planning_values_for_the_laboratory():
    (found,) = rcm_bench.power("lab", margin={"geneval.overall": 0.02})
    assert (found.prompts, found.seeds, found.margin) == (616, 4, 0.02)
    assert [size.seeds for size in found.sizes] == [1, 2, 4, 8, 16]
    by_seeds = {size.seeds: size.prompts for size in found.sizes}
    # 7.84888 (0.0384 + 0.128 / 4) / 0.02^2 and 10.50742 (0.0384 + 0.128 / 4) / 0.02^2
    assert by_seeds[4] == {0.8: 1382, 0.9: 1850}
    assert found.detectable[0.8] == pytest.approx(math.sqrt(7.84888 * 0.0704 / 616), rel=1e-5)
    assert found.source.startswith("planning values, not measured: accuracy 0.8, correlation 0.6")


def test_a_task_is_measured_on_its_own_prompts():
    (found,) = rcm_bench.power("quickstart", margin={"geneval.counting": 0.1})
    assert found.prompts == 10


def test_without_a_margin_the_suite_is_shown_as_it_stands():
    (found,) = rcm_bench.power("quickstart")
    assert (found.metric, found.margin) == ("geneval.overall", None)
    assert all(n is None for size in found.sizes for n in size.prompts.values())
    code, text, _ = shown("quickstart")
    assert code == 0 and "As it stands (58 prompts x 4 seeds): tells 0.0976 with power 80 %" in text
    assert "prompts, power" not in text


def test_a_pilot_gives_the_variances_of_its_most_variable_student(pilot, suite):
    """The suite declares the margin; by hand from the pilot's own scores."""
    from rcm_bench.evidence import run_evidence

    path = suite(f"{SUITE}gates: {{{METRIC}: {{margin: 0.01, steps: [2]}}}}\n")
    (found,) = rcm_bench.power(str(path), pilot)
    rows = run_evidence(pilot).metrics[METRIC].measured.rows.set_index("prompt_id")
    student = rows.query("model == 'student' and steps == 2")
    teacher = rows.query("model == 'teacher' and steps == 4")
    difference = (student["numerator"] - teacher["numerator"]) / 3
    total = difference.var(ddof=1)
    within = sum((side["within"] / 3).mean() for side in (student, teacher))
    between = max(0.0, total - within / 3)
    at_one = next(size for size in found.sizes if size.seeds == 1)
    assert at_one.prompts[0.8] == max(2, math.ceil(7.8488797 * (between + within) / 1e-4))
    at_three = next(size for size in found.sizes if size.seeds == 3)
    assert at_three.prompts[0.8] == max(2, math.ceil(7.8488797 * total / 1e-4))
    assert found.prompts == 6  # of the suite, not of the pilot
    assert found.source == (
        f"measured in {pilot}: student at 2 steps against teacher at 4 steps, the most variable"
    )
    code, text, _ = shown(path, "--pilot", pilot)
    assert code == 0 and "prompts, power 80 %" in text and "prompts, power 90 %" in text


def test_a_baseline_file_is_a_pilot_too(pilot, suite, tmp_path):
    file = rcm_bench.baseline(pilot, tmp_path / "b.json")
    (by_file,) = rcm_bench.power(str(suite()), file, {METRIC: 0.01})
    (by_run,) = rcm_bench.power(str(suite()), pilot, {METRIC: 0.01})
    assert by_file.sizes == by_run.sizes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["quickstart", "--margin", "diversity.overall=0.1"],
            "diversity.overall: there are planning values for accuracies only; name a run that "
            "measured it: --pilot RUN",
        ),
        (
            ["quickstart", "--margin", "geneval.overal2=0.1"],
            "--margin: unknown metric 'geneval.overal2'. Available: detail.psnr, detail.sharpness, "
            "diversity.background, diversity.color, diversity.overall, diversity.place, "
            "diversity.size, geneval.color_attr, geneval.colors, geneval.counting, "
            "geneval.overall, geneval.position, geneval.single_object, geneval.two_object, "
            "latency.nfe, latency.seconds_per_image. Did you mean 'geneval.overall'?",
        ),
        (
            ["quickstart", "--margin", "geneval.overall=0"],
            "--margin geneval.overall: expected a number > 0, got 0",
        ),
        (
            ["quickstart", "--pilot", "{pilot}", "--margin", "geneval.overall=0.1"],
            "{pilot}: unknown metric 'geneval.overall'. Available: brightness.mean.",
        ),
        (
            ["quickstart", "--pilot", "{tmp}"],
            "{tmp}: not a run folder: there is no manifest.json in it",
        ),
        (
            ["quickstar"],
            f"quickstar: unknown suite 'quickstar'. Available: {SUITES}. "
            "Did you mean 'quickstart'?",
        ),
    ],
)
def test_messages(pilot, tmp_path, arguments, message):
    names = {"pilot": pilot, "tmp": tmp_path}
    code, _, said = shown(*(text.format(**names) for text in arguments))
    assert (code, said) == (2, f"error: {message.format(**names)}\n")
