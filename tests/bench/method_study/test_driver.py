"""Trainings in a session: slots, failures, and the end of the time."""

import sys
import time

import pytest

from rcm_bench.method_study import driver
from rcm_bench.method_study.driver import Job, Machine, run_jobs
from rcm_bench.method_study.trainings import Training

# Stands for the interpreter: "-m rcm_bench distill RECIPE --out FOLDER".
STAND_IN = """#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES" >> "$6/device.txt"
case "$4" in
  *good*) touch "$6/done" ;;
  *bad*) echo "step 7: it diverged"; exit 2 ;;
  *long*) trap 'touch "$6/saved"; trap - TERM; kill -TERM $$' TERM
          while true; do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(driver, "STOPPING_SECONDS", 3.0)
    monkeypatch.setattr(driver, "_POLL_SECONDS", 0.02)

    def is_done(out, training):
        return (out / "trainings" / training.name / "done").exists()

    monkeypatch.setattr(driver, "is_done", is_done)


def jobs(tmp_path, *names):
    return [Job(Training(n, "m", "final", {}, 1), tmp_path / f"{n}.yaml") for n in names]


def test_all_are_run_and_a_failure_is_kept(tmp_path, stand_in, capsys):
    names = ["good1", "bad", "good2", "good3"]
    end = time.monotonic() + 30
    settled = run_jobs(jobs(tmp_path, *names), tmp_path, Machine(2, 1, end))
    assert settled
    folders = {name: tmp_path / "trainings" / name for name in names}
    assert (folders["bad"] / "failed.txt").read_text() == "step 7: it diverged\n"
    assert "bad: failed: step 7: it diverged" in capsys.readouterr().out
    devices = {
        name: (folder / "device.txt").read_text().split() for name, folder in folders.items()
    }
    assert {d for each in devices.values() for d in each} == {"0", "1"}
    run_jobs(jobs(tmp_path, *names), tmp_path, Machine(2, 1, end))
    again = {name: (folder / "device.txt").read_text().split() for name, folder in folders.items()}
    assert again == devices, "nothing is run twice"


def test_the_session_ends_in_time_and_what_runs_may_save(tmp_path, stand_in):
    start = time.monotonic()
    settled = run_jobs(jobs(tmp_path, "long", "good"), tmp_path, Machine(0, 1, start + 6))
    assert not settled
    assert time.monotonic() - start < 8
    folder = tmp_path / "trainings" / "long"
    assert (folder / "saved").exists()
    assert not (folder / "failed.txt").exists()
    assert not (tmp_path / "trainings" / "good" / "device.txt").exists(), "one slot only"
