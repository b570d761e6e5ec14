"""report: documents, several runs in one, a suite over time; what does not fit is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from tiny_suite import PROMPTS, SUITE
from typer.testing import CliRunner

from rcm_bench.cli import app
from rcm_bench.conditions import conditions_of
from rcm_bench.finish import open_run, report_input
from rcm_bench.joining import join
from rcm_bench.timeline import _changes, _Measured, find_runs
from rcm_bench.timeline import history as made_history
from rcm_bench.verbs.run import run

SECOND = (
    SUITE.replace("suite: tiny", "suite: second")
    .replace("[1, 4]", "[4]")
    .replace("student: {kind: fake, sampler: few, level: 0.9}",
             "student: {kind: fake, sampler: few, level: 0.5}\n"
             "  other: {kind: fake, sampler: few, level: 1.0, steps: [2]}")
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of different suites against one teacher, and runs that do not fit to them."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "prompts.txt").write_text(PROMPTS)
    (folder / "others.txt").write_text(PROMPTS.replace("number", "no."))
    suites = {
        "a": SUITE,
        "b": SECOND,
        "fewer": SECOND.replace("samples_per_prompt: 3", "samples_per_prompt: 2"),
        "others": SECOND.replace("prompts.txt", "others.txt"),
    }
    for name, text in suites.items():
        (folder / f"{name}.yaml").write_text(text)
        assert run(str(folder / f"{name}.yaml"), folder / name).whole
    return folder


def call(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["markdown", "latex", "csv", "json"])
def test_documents_on_standard_output_and_in_a_file(kind, runs, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (runs / "a").rglob("*")}
    printed = call(runs / "a", "--format", kind)
    assert printed.exit_code == 0, printed.stderr
    out = tmp_path / "made" / "document"
    written = call(runs / "a", "--format", kind, "--out", out)
    assert written.stdout == f"{out}\n" and out.read_text(encoding="utf-8") == printed.stdout
    assert [path.name for path in out.parent.iterdir()] == ["document"]
    assert {path: path.stat().st_mtime_ns for path in (runs / "a").rglob("*")} == before


def test_a_document_has_the_numbers_of_the_run(runs):
    data = json.loads(call(runs / "a", "--format", "json").stdout)
    table = pd.read_csv(runs / "a" / "tables" / "measurements.csv", float_precision="round_trip")
    assert [row["value"] for row in data["measurements"]] == table["value"].tolist()


def test_messages_for_what_does_not_go_together(runs, tmp_path):
    a, b = runs / "a", runs / "b"
    (tmp_path / "file").write_text("")
    faults = {
        (a, "--format", "markdwon"): (
            "--format: unknown format 'markdwon'. Available: csv, html, json, latex, markdown. "
            "Did you mean 'markdown'?"
        ),
        (a, b): "a report of several runs: give --out, the folder to write it into",
        (a, b, "--out", a): f"--out {a}: is a run folder and has a report of its own; give another",
        (a, b, "--out", tmp_path / "file"): (
            f"--out {tmp_path / 'file'}: expected a folder, got a file"
        ),
        (a, "--format", "csv", "--out", tmp_path): (
            f"--out {tmp_path}: expected a file to write, got a folder"
        ),
        (a, a, "--out", tmp_path / "x"): f"{a}: the same run is named twice",
        (tmp_path,): f"{tmp_path}: not a run folder: there is no manifest.json in it",
        ("--history", a, b): "--history: give --out, the folder to write the page into",
        ("--history", a, b, "--out", "x", "--format", "csv"): (
            "--history: is a page; leave out --format csv"
        ),
        ("--history", a, b, "--out", tmp_path / "x"): (
            "--history: expected runs of one suite, got 2: second, tiny"
        ),
        ("--history", a, "--out", tmp_path / "x"): (
            f"--history: expected at least 2 runs, got 1: {a}"
        ),
        ("--history", tmp_path, "--out", tmp_path / "x"): (
            f"{tmp_path}: no run, and no folder of runs: there is no manifest.json in it"
        ),
    }
    for arguments, message in faults.items():
        found = call(*arguments)
        assert (found.exit_code, found.stdout) == (2, ""), arguments
        assert found.stderr == f"error: {message}\n"
    assert not (tmp_path / "x").exists()


def test_runs_under_other_protocols_are_refused_with_what_differs(runs, tmp_path):
    a = runs / "a"
    found = call(a, runs / "fewer", "--out", tmp_path / "x")
    assert found.exit_code == 2
    assert found.stderr == (
        f"error: {runs / 'fewer'}: its numbers cannot stand beside those of {a}; "
        f"their protocols differ in\n  samples per prompt: 3 in {a}, 2 here "
        "(more samples are more precise, with the same expectation)\n"
    )
    found = call(a, runs / "others", "--out", tmp_path / "x")
    assert found.stderr.endswith(
        f"differ in\n  prompts: 6 prompts in {a}, 6 prompts here (they have no prompt in common)\n"
    )


def test_one_teacher_and_models_told_apart_by_run(runs, tmp_path):
    found = call(runs / "a", runs / "b", "--out", tmp_path / "ab")
    assert found.exit_code == 0, found.stderr
    assert found.stdout == f"{tmp_path / 'ab' / 'report' / 'index.html'}\n"
    report = join([open_run(runs / "a"), open_run(runs / "b")])
    cells = report.samples.groupby(["model", "steps"]).size().to_dict()
    assert cells == {
        ("teacher", 1): 18, ("teacher", 4): 18,
        ("student (tiny)", 1): 18, ("student (tiny)", 2): 18,
        ("student (second)", 1): 18, ("student (second)", 2): 18,
        ("other", 2): 18,
    }  # fmt: skip
    assert report.samples["item_id"].is_unique
    folders = dict(zip(report.samples["model"], report.samples["run_dir"], strict=True))
    assert folders["teacher"] == str((runs / "a").resolve())
    assert folders["student (second)"] == str((runs / "b").resolve())
    for row in report.samples.itertuples():
        assert (type(report.run_dir)(row.run_dir) / row.blob).is_file()
    page = (tmp_path / "ab" / "report" / "index.html").read_text(encoding="utf-8")
    assert "student (tiny)" in page and "student (second)" in page
    assert f"{runs / 'a'}/" not in page and f"{runs / 'b'}/" not in page


def test_a_student_of_the_second_run_is_paired_with_the_teacher_of_the_first(runs):
    report = join([open_run(runs / "a"), open_run(runs / "b")])
    values = report.samples.merge(report.scores[["item_id", "value"]], on="item_id")
    by_prompt = values.groupby(["model", "steps", "prompt_id"])["value"].mean()
    by_hand = (by_prompt["student (second)", 2] - by_prompt["teacher", 4]).mean()
    row = report.paired.query("model == 'student (second)' and steps == 2").iloc[0]
    assert row["difference"] == pytest.approx(by_hand, rel=1e-9)
    assert (row["reference_model"], row["reference_steps"]) == ("teacher", 4)
    assert row["n_prompts"] == 6


def test_joined_with_itself_under_another_name_adds_nothing(runs, tmp_path):
    """The same models are the same models, whatever folder they lie in."""
    shutil.copytree(runs / "a", tmp_path / "copy")
    one = join([open_run(runs / "a")])
    two = join([open_run(runs / "a"), open_run(tmp_path / "copy")])
    assert len(two.samples) == len(one.samples) == 72
    pd.testing.assert_frame_equal(two.measurements, one.measurements)


def test_an_incomplete_run_among_several_is_said_and_gives_no_total(runs, tmp_path):
    shutil.copytree(runs / "b", tmp_path / "part")
    blobs = sorted((tmp_path / "part" / "blobs").rglob("*.png"))
    blobs[0].unlink()
    report = join([open_run(runs / "a"), open_run(tmp_path / "part")])
    assert "second is not complete, so no benchmark total is given." in report.manifest["remarks"]
    missing = report.measurements["n_missing"]
    assert missing.sum() == 1 and (report.samples["status"] == "missing").sum() == 1


def test_reporting_needs_no_torch(runs, environment):
    code = (
        "import sys\nfrom rcm_bench.verbs.report import document\n"
        f"document([{str(runs / 'a')!r}, {str(runs / 'b')!r}], 'json')\n"
        "from rcm_bench import timeline\nimport rcm_reports.history\n"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                         text=True, check=True)  # fmt: skip
    assert ran.stdout == "False\n"


def history_of(tmp_path, levels, prompts=PROMPTS, **changes):
    """Runs of one suite whose student has these levels, a day apart."""
    for place, level in enumerate(levels):
        text = SUITE.replace("level: 0.9", f"level: {level}")
        for old, new in changes.get(f"at_{place}", {}).items():
            text = text.replace(old, new)
        (tmp_path / "prompts.txt").write_text(prompts)
        (tmp_path / "t.yaml").write_text(text)
        out = tmp_path / "runs" / f"r{place}"
        run(str(tmp_path / "t.yaml"), out)
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["created"] = f"2026-01-0{place + 1}T00:00:00.000+00:00"
        (out / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "runs"


def history(folder):
    return made_history(find_runs([folder]))


MANY = "".join(f"prompt number {i}\n" for i in range(24))


def test_a_regression_is_marked_and_the_same_samples_are_said_to_be_the_same(tmp_path):
    runs = history(history_of(tmp_path, [0.9, 0.9, 0.7, 0.72], MANY))
    assert [run.name for run in runs] == ["r0", "r1", "r2", "r3"]
    student, teacher = (("brightness.mean", name, sampler, steps) for name, sampler, steps in
                        (("student", "few", 2), ("teacher", "flow", 4)))  # fmt: skip
    assert [run.changes.get(student, None) and run.changes[student].kind for run in runs] == [
        None, "same", "worse", "better",
    ]  # fmt: skip
    assert {run.changes[teacher].kind for run in runs[1:]} == {"same"}
    fall = runs[2].changes[student]
    assert fall.paired and fall.low < fall.difference < fall.high < 0
    assert runs[3].since_first[student].kind == "worse"
    assert not runs[2].since_first and not runs[0].changes
    assert [note for note in runs[2].notes if note.startswith("weights of student: ")]
    assert runs[1].notes == []


def test_other_prompts_are_compared_unpaired_and_other_protocols_not_at_all(tmp_path):
    (tmp_path / "others.txt").write_text(MANY.replace("number", "no."))
    folder = history_of(
        tmp_path, [0.9, 0.6, 0.3, 0.3], MANY,
        at_1={"samples_per_prompt: 3": "samples_per_prompt: 2"},
        at_2={"prompts.txt": "others.txt"},
        at_3={"prompts.txt": "others.txt", "batch_size: 8": "batch_size: 8, failures: score_zero"},
    )  # fmt: skip
    runs = history(folder)
    for place, paired in ((1, True), (2, False)):
        kinds = {key[1]: change for key, change in runs[place].changes.items() if key[3] == 1}
        assert kinds["student"].kind == "worse" and kinds["student"].paired == paired
        assert kinds["teacher"].kind in ("level", "same")
    assert runs[3].changes == {}
    assert 'protocol: failures: "exclude_and_flag" before, "score_zero" now' in runs[3].notes


def test_what_moves_as_often_up_as_down_is_level(tmp_path):
    folder = history_of(tmp_path, [0.9], MANY)
    opened = open_run(folder / "r0")
    old = report_input(opened, opened.store.index())
    turn = old.samples["prompt_id"].rank(method="dense").to_numpy() % 2 * 2 - 1
    noise = dict(zip(old.samples["item_id"], 0.01 * turn, strict=True))
    scores = old.scores.assign(value=old.scores["value"] + old.scores["item_id"].map(noise))
    new = replace(old, samples=old.samples.assign(blob="other"), scores=scores)
    conditions = conditions_of(opened)
    before, after = (_Measured(report, conditions) for report in (old, new))
    changes = _changes(before, opened, after)
    assert len(changes) == 4 and {change.kind for change in changes.values()} == {"level"}
    assert all(abs(change.difference) < 1e-12 < change.high for change in changes.values())
    fallen = replace(new, scores=scores.assign(value=scores["value"] - 0.1))
    found = _changes(before, opened, _Measured(fallen, conditions))
    assert {change.kind for change in found.values()} == {"worse"}


def test_the_history_page_is_written_on_the_command_line(tmp_path):
    folder = history_of(tmp_path, [0.9, 0.7], MANY)
    found = call("--history", folder, "--out", tmp_path / "page")
    assert found.exit_code == 0, found.stderr
    assert found.stdout == f"{tmp_path / 'page' / 'index.html'}\n"
    page = (tmp_path / "page" / "index.html").read_bytes()
    call("--history", folder / "r1", folder / "r0", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "index.html").read_bytes() == page


def test_a_suite_with_gates_says_on_its_page_what_they_say(tmp_path):
    (tmp_path / "prompts.txt").write_text(MANY)
    text = SUITE + "gates: {brightness.mean: {margin: MARGIN}}\n"
    for margin, outcome in (("0.2", "pass"), ("0.001", "fail")):
        (tmp_path / "t.yaml").write_text(text.replace("MARGIN", margin))
        out = tmp_path / outcome
        run(str(tmp_path / "t.yaml"), out)
        data = json.loads(call(out, "--format", "json").stdout)
        assert data["manifest"]["gate"]["outcome"] == outcome
        assert {check["outcome"] for check in data["manifest"]["gate"]["checks"]} == {outcome}
        page = (out / "report" / "index.html").read_text(encoding="utf-8")
        assert {"pass": "Gate passed: ", "fail": "Gate failed: "}[outcome] in page
    (tmp_path / "t.yaml").write_text(SUITE)
    run(str(tmp_path / "t.yaml"), tmp_path / "none")
    assert "gate" not in json.loads(call(tmp_path / "none", "--format", "json").stdout)["manifest"]


def test_joined_runs_keep_their_tables_of_throughput(tmp_path):
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    folders = []
    for name, text in (("a", SUITE), ("b", SECOND)):
        timed = text.replace("{brightness: {}}", "{brightness: {}, throughput: {rounds: 1}}")
        (tmp_path / f"{name}.yaml").write_text(timed)
        assert run(str(tmp_path / f"{name}.yaml"), tmp_path / name).whole
        folders.append(tmp_path / name)
    alone = [pd.read_csv(folder / "tables" / "throughput.csv") for folder in folders]
    joined = join([open_run(folder) for folder in folders]).throughput
    assert len(joined) == sum(map(len, alone)) - 1, "the teacher is one model"
    for name, table in (("teacher", alone[0]), ("other", alone[1])):
        expected = table[table["model"] == name]["seconds"].tolist()
        assert expected and joined[joined["model"] == name]["seconds"].tolist() == expected


def test_samples_whose_files_are_gone_are_said_to_be_gone(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "blobs")
    (tmp_path / "a" / "blobs").mkdir()
    for arguments in ([tmp_path / "a"], [tmp_path / "a", runs / "b", "--out", tmp_path / "both"]):
        refused = call(*arguments)
        assert refused.exit_code == 2
        assert "file of a sample is missing and others; sample again" in refused.stderr
