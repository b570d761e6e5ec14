"""A whole study on a CPU, with trainings of seconds: search, trainings, measurement, page."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from rcm_bench.method_study import driver, relay, results
from rcm_bench.method_study.__main__ import main
from rcm_distill.train import Recipe, train
from rcm_distill.train.recipe import Data, Optimizer

STUDY = Path(__file__).parents[3] / "suites" / "recipes" / "search" / "methods.yaml"


def tiny_teacher(out):
    network = {"width": 32, "depth": 1, "num_heads": 2, "text_depth": 1, "mlp_ratio": 1}
    recipe = Recipe(
        recipe="tiny-teacher",
        about="a test",
        method="flow_matching",
        network=network,
        data=Data(num_images=64),
        student=Optimizer(lr=1e-3),
        steps=20,
        batch_size=8,
        precision="float32",
    )
    return train(recipe, out, device="cpu").weights


def tiny_study(folder):
    """The committed study with all methods, two seeds, one trial each, and a few iterations."""
    values = yaml.safe_load(STUDY.read_text())
    values |= {
        "study": "tiny",
        "teacher": str(tiny_teacher(folder / "teacher")),
        "budget": {"search": 40, "final": 120, "trials": 1, "batch_size": 4},
        "seeds": [1, 2],
        "validations": 2,
        "data": {"num_images": 64, "seed": 1},
        "precision": "float32",
        "network": {"width": 32},
        "converged": {"window": 0.5, "gain": 0.02, "points": 2, "least": 0.0},
        "measure": {
            **{"steps": [1, 2], "teacher_steps": 2, "per_task": 4},
            **{"prompt_seed": 0, "samples_per_prompt": 2},
        },
    }
    for method in values["methods"].values():
        method["space"] = {key: points[:1] for key, points in method["space"].items()}
    values["sweep"]["values"] = [1.0]
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_goes_through_sessions_to_its_page(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(driver, "STOPPING_SECONDS", 8.0)
    study, out = tiny_study(tmp_path), tmp_path / "out"
    command = [str(study), str(out), "--devices", "0", "--per-device", "2"]
    assert main([*command, "--plan"]) == 0
    assert "rcm-dmd-weight-1: 12 iterations, 6 student updates" in capfd.readouterr().out
    # The first session is too short on purpose: it stops a training, which the next goes on with.
    assert main([*command, "--seconds", "20"]) == 4
    codes = [main([*command, "--seconds", "600"]) for _ in range(2)]
    assert codes == [0, 0], capfd.readouterr()
    report = out / "report"
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    assert main([*command, "--seconds", "600"]) == 0
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    page = (report / "README.md").read_text()
    for method, seeds in {"rcm": 2, "scm": 2, "dmd2": 2, "meanflow": 1, "dcm": 1}.items():
        assert f"| {method} | {seeds} | 1 |" in page
    assert "not finished" not in page
    compared = pd.read_csv(report / "comparisons.csv")
    assert set(compared["budget"]) == {"at equal compute", "at equal updates"}
    assert "new prompts and new training seeds" in set(compared["scope"])
    values = pd.read_csv(report / "values.csv")
    trained = {"rcm-seed1", "rcm-seed2", "dcm-seed1", "meanflow-seed1", "rcm-dmd-weight-1"}
    assert trained <= set(values["model"])
    assert {f"{name}-equal-updates" for name in trained} <= set(values["model"])
    search = pd.read_csv(report / "search.csv")
    assert search["chosen"].all()
    assert len(search) == 5


def relay_call(study, away, box, seconds, *more):
    """One call on a borrowed machine in a process of its own."""
    code = (
        "import sys; from rcm_bench.method_study import driver, relay; "
        "driver.STOPPING_SECONDS, relay.PACK_SECONDS = 4.0, 1.0; "
        "from rcm_bench.method_study.ending import run_command; run_command(relay.main)"
    )
    run = ["run", str(study), str(away), "--seconds", str(seconds), "--into", str(box)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *run, "--devices", "0", "--at-once", "2", *more],
        stdout=subprocess.PIPE,
        text=True,
    )


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def finals_done(away):
    return len(list(away.glob("trainings/*-seed*/done.json")))


def wait_for_a_final(away, before):
    """Wait for one more final training than before: how long it takes is the machine's affair."""
    until = time.monotonic() + 600
    while finals_done(away) <= before:
        assert time.monotonic() < until, "no training ends"
        time.sleep(0.05)


def kill_all(call, away):
    """Take a machine away: the call and its trainings, which are in process groups of their own."""
    call.kill()
    call.communicate()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"\0{away}/trainings/".encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_survives_machines_that_are_taken_away(tmp_path, capfd):
    """Stopped, killed and lost on the way; reported in between; trained whole, nothing twice."""
    study, home, light = tiny_study(tmp_path), tmp_path / "home", tmp_path / "light"
    light.mkdir()
    started = []

    def call(number, machine, seconds, *more, stopped=False):
        away, box = tmp_path / f"machine{machine}", tmp_path / f"parcel{number}"
        shutil.copytree(light, away, dirs_exist_ok=True)
        before = finals_done(away)
        running = relay_call(study, away, box, seconds, *more)
        if stopped:
            wait_for_a_final(away, before)
            running.terminate()
        said = running.communicate()[0]
        started.append([line.partition(":")[0] for line in said.splitlines() if "started" in line])
        assert relay.main(["take", str(box), str(home), "--light", str(light)]) == 0
        return running.returncode, said

    report = tmp_path / "page"
    as_it_is = [str(study), str(home), "--devices", "0", "--as-it-is", "--report", str(report)]
    assert main(as_it_is) == 4
    page = (report / "README.md").read_text()
    assert "This study is not finished" in page
    assert "have run: rcm 0 of 1, scm 0 of 1, dmd2 0 of 1, meanflow 0 of 1" in page
    # A machine that stays is stopped, killed without a parcel, and called again.
    code, said = call(0, 0, 20, "--stays")
    assert code == 4
    assert "there is more to train" in said
    away = tmp_path / "machine0"
    shutil.copytree(light, away, dirs_exist_ok=True)
    before = finals_done(away)
    lost = relay_call(study, away, tmp_path / "lost", 900, "--stays")
    wait_for_a_final(away, before)
    kill_all(lost, away)
    assert not (tmp_path / "lost" / "parcel.json").exists()
    code, said = call(1, 0, 900, "--stays", stopped=True)
    assert code == 128 + signal.SIGTERM
    first = {path.name for path in (home / "trainings").glob("*")}
    assert first
    assert main([*as_it_is, "--seconds", "900"]) == 4
    page = (report / "README.md").read_text()
    assert "This study is not finished" in page
    done = {path.name for path in home.glob("trainings/*") if (path / "done.json").exists()}
    whole = {m for m in ("rcm", "scm", "dmd2") if {f"{m}-seed1", f"{m}-seed2"} <= done}
    compared = pd.read_csv(report / "comparisons.csv")
    ranked = compared[compared["ranked"]]
    assert set(ranked["first"]) | set(ranked["other"]) <= whole | {"teacher"}
    assert set(compared.loc[~compared["ranked"], "says"]) <= {"not ranked"}
    # Home keeps no weights and no samples either: what was measured lies in one file.
    for path in list(home.glob("trainings/*/*.safetensors")):
        path.unlink()
    shutil.rmtree(home / "measured", ignore_errors=True)
    before = set(pd.read_csv(report / "values.csv")["model"]) - {"teacher"}
    # Another machine knows what came home, and trains all else.
    code, said = call(2, 1, 900)
    assert code == 0, said
    assert not first & set(started[-1])
    everything = {path.name for path in (home / "trainings").glob("*")}
    assert everything == first | set(started[-1])
    assert not list(light.glob("**/*.safetensors"))
    capfd.readouterr()
    command = [str(study), str(home), "--devices", "0", "--seconds", "900"]
    assert main([*command, "--report", str(report)]) == 0
    assert "started" not in capfd.readouterr().out, "nothing is trained at home"
    assert "not finished" not in (report / "README.md").read_text()
    values = pd.read_csv(report / "values.csv")
    trained = {"rcm-seed1", "rcm-seed2", "dcm-seed1", "meanflow-seed1", "rcm-dmd-weight-1"}
    assert trained | {f"{name}-equal-updates" for name in trained} <= set(values["model"])
    again = yaml.safe_load((home / "measure.yaml").read_text())["models"]
    assert not before & again.keys(), "nothing is measured twice"
    for name in trained:
        folder = home / "trainings" / name
        steps = json.loads((folder / "done.json").read_text())["steps"]
        curve = [row["step"] for row in rows(folder / "validation.jsonl")]
        assert {steps // 2, steps} <= set(curve), "no validation is lost"
        assert curve == sorted(set(curve))
    # A fresh workplace that has nothing but the light folder and what was measured.
    fresh, again = tmp_path / "fresh", tmp_path / "again"
    shutil.copytree(light, fresh)
    shutil.copy(home / "measured.npz", fresh)
    assert main([str(study), str(fresh), "--devices", "0", "--report", str(again)]) == 0
    assert "started" not in capfd.readouterr().out
    assert not (fresh / "measured").exists()
    for path in report.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def pretend_done(out, more):
    """Lay out rCM's whole search and one training more as done, without weights."""
    for name in [*(f"rcm-trial{n}" for n in range(6)), more]:
        own = out / "trainings" / name
        own.mkdir(parents=True)
        (own / "validation.jsonl").write_text(
            json.dumps({"step": 9, "seconds": 1.0, "student_updates": 9, "geneval_1_steps": 0.5})
        )
        (own / "done.json").write_text(json.dumps({"steps": 9, "steps_planned": 9}))


def test_the_page_says_what_has_not_run(tmp_path, capsys):
    """Nothing is trained or sampled: a search that ended, one that diverged, and the rest."""
    out, folder = tmp_path / "out", tmp_path / "page"
    pretend_done(out, "scm-trial0")
    seed = out / "trainings" / "rcm-seed11"
    seed.mkdir()
    (seed / "diverged.txt").write_text("step 7: it diverged\n")
    assert main([str(STUDY), str(out), "--as-it-is", "--report", str(folder)]) == 4
    assert "the study is not finished" in capsys.readouterr().out
    page = (folder / "README.md").read_text()
    assert "run: rcm 6 of 6, scm 1 of 6, dmd2 0 of 6, meanflow 0 of 6, dcm 0 of 6." in page
    assert "- 1 of 14 trainings have run. Not run: scm-seed11, dmd2-seed11, rcm-seed12" in page
    assert "| rcm | unconverged: a training diverged: step 7: it diverged |" in page
    assert "| dmd2 | not judged: 0 of 3 trainings have run |" in page
    row = next(line for line in page.splitlines() if line.startswith("| rcm-seed11 | lr 0.0001"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2::2] == ["-", "-", "-"], "how far it came is not known: no iterations are not 0"
    assert cells[5] == "diverged: step 7: it diverged"
    assert "| scm-seed11 | nothing yet | not run |" in page
    searched = pd.read_csv(folder / "search.csv")
    assert searched["chosen"].sum() == 1
    assert searched["state"].value_counts().to_dict() == {"not run": 23, "done": 7}
    assert searched.loc[searched["state"] == "not run", "accuracy"].isna().all()


@pytest.mark.parametrize(("ended", "code"), [(2, 2), (4, 4), (70, 4), (-9, 4)])
def test_a_measurement_that_no_session_mends_is_the_users(tmp_path, monkeypatch, ended, code):
    """Who calls again until the study is done must not go on for ever."""
    suite = tmp_path / "measure.yaml", tmp_path / "run"
    monkeypatch.setattr(results, "measurement", lambda study, out: suite)
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{'kill -KILL $$' if ended < 0 else f'exit {ended}'}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    assert main([str(STUDY), str(tmp_path / "out"), "--as-it-is"]) == code


def test_weights_that_are_gone_are_named_with_the_way_out(tmp_path, capsys):
    """A record without weights that were never measured: a fresh workplace may have that."""
    out = tmp_path / "out"
    pretend_done(out, "rcm-seed11")
    assert main([str(STUDY), str(out), "--as-it-is"]) == 2
    said = capsys.readouterr().err
    gone = out / "trainings" / "rcm-seed11"
    assert f"{gone / 'rcm-seed11.safetensors'}: missing, but rcm-seed11 is done" in said
    assert f"delete the folder {gone} and the folder trainings/rcm-seed11 of the light" in said
    second = shutil.copytree(gone, out / "trainings" / "rcm-seed12")
    assert main([str(STUDY), str(out), "--as-it-is"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [f"delete the folder {own} and" in line for own, line in zip(
        (gone, second), lines, strict=True)] == [True, True]  # fmt: skip
    for folder in (gone, second):
        shutil.rmtree(folder)
    assert main([str(STUDY), str(out), "--as-it-is"]) == 4, "the page is there again"
    assert (out / "report" / "README.md").exists()


def test_a_wrong_study_is_said(tmp_path, capsys):
    assert main([str(tmp_path / "none.yaml"), str(tmp_path)]) == 2
    assert "none.yaml: no such study" in capsys.readouterr().err
