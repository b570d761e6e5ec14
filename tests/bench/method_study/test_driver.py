"""Trainings in a session: slots, order, divergence, faults of the machine, the end of the time."""

import sys
import time

import pytest

from rcm_bench.method_study import driver, progress
from rcm_bench.method_study.driver import TRIES, Machine, run_trainings
from rcm_bench.method_study.trainings import Training

# Stands for the interpreter: "-m rcm_bench.method_study.turns RECIPE FOLDER --device DEVICE",
# and then "--turn FILE" and more.
STAND_IN = """#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES $6" >> "$4/device.txt"
echo "$7 $8" >> "$4/turn.txt"
case "$3" in
  *good*) touch "$4/done" ;;
  *diverging*) echo "step 7: it diverged" > "$4/diverged.txt"; exit 1 ;;
  *crashing*) echo "RuntimeError: CUDA error: an illegal memory access was encountered"; exit 1 ;;
  *flaky*) if [ -f "$4/once" ]; then touch "$4/done"; else touch "$4/once"; kill -KILL $$; fi ;;
  *wrong*) echo "a state of another recipe"; exit 2 ;;
  *late*) echo "not begun"; exit 4 ;;
  *long*) trap 'touch "$4/saved"; trap - TERM; kill -TERM $$' TERM
          while true; do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(driver, "STOPPING_SECONDS", 3.0)
    monkeypatch.setattr(driver, "_POLL_SECONDS", 0.02)

    def is_done(out, training):
        return (out / "trainings" / training.name / "done").exists()

    monkeypatch.setattr(progress, "is_done", is_done)


def run(tmp_path, *names, machine=None, known=None):
    trainings = [Training(n, "m", "final", {}, 1) for n in names]
    return run_trainings(
        known or (lambda: trainings),
        lambda training: tmp_path / f"{training.name}.yaml",
        tmp_path,
        machine or Machine(2, 1, time.monotonic() + 30),
    )


def begun(tmp_path, name):
    path = tmp_path / "trainings" / name / "device.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_all_are_run_once_and_a_divergence_is_kept(tmp_path, stand_in, capsys):
    names = ["good1", "diverging", "good2", "good3"]
    assert run(tmp_path, *names)
    assert "diverging: diverged: step 7: it diverged" in capsys.readouterr().out
    devices = {name: begun(tmp_path, name) for name in names}
    assert {d for each in devices.values() for d in each} == {"0 cuda", "1 cuda"}
    assert run(tmp_path, *names)
    assert {name: begun(tmp_path, name) for name in names} == devices, "nothing is run twice"


def test_each_device_has_a_turn_of_its_own(tmp_path, stand_in):
    names = [f"good{i}" for i in range(8)]
    two = Machine(2, 2, time.monotonic() + 30, needs=lambda training: 1.0)
    assert run(tmp_path, *names, machine=two)
    turns = {}
    for name in names:
        (device,) = begun(tmp_path, name)
        turn = (tmp_path / "trainings" / name / "turn.txt").read_text().strip()
        turns.setdefault(device, set()).add(turn)
    assert turns == {f"{i} cuda": {f"--turn {tmp_path}/turn.{i}"} for i in (0, 1)}


def test_only_gpus_that_the_caller_sees_are_used(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7a")
    two = Machine(2, 1, time.monotonic() + 30, needs=lambda training: 1.0)
    assert run(tmp_path, "good1", "good2", machine=two)
    assert [begun(tmp_path, n) for n in ("good1", "good2")] == [["5 cuda"], ["GPU-7a cuda"]]
    turns = [(tmp_path / "trainings" / n / "turn.txt").read_text() for n in ("good1", "good2")]
    assert turns == [f"--turn {tmp_path}/turn.{name}\n" for name in ("5", "GPU-7a")]
    with pytest.raises(ValueError, match="at most the 2 GPUs of CUDA_VISIBLE_DEVICES=5, GPU-7a"):
        run(tmp_path, "good3", machine=Machine(3, 1, time.monotonic() + 30))


def test_a_fault_of_the_machine_is_tried_again_and_is_no_divergence(tmp_path, stand_in, capsys):
    assert not run(tmp_path, "crashing", "flaky", "good")
    said = capsys.readouterr().out
    assert "crashing: a fault of the machine, code 1: RuntimeError: CUDA error" in said
    assert "flaky: a fault of the machine, code -9" in said
    assert len(begun(tmp_path, "crashing")) == TRIES
    assert len(begun(tmp_path, "flaky")) == 2
    assert not list(tmp_path.glob("trainings/*/diverged.txt"))
    assert not run(tmp_path, "crashing"), "the next session tries again"
    assert len(begun(tmp_path, "crashing")) == 2 * TRIES


def test_a_wrong_recipe_or_no_time_is_not_tried_again_in_a_session(tmp_path, stand_in, capsys):
    assert not run(tmp_path, "wrong", "late", "good")
    assert "wrong: wrong: a state of another recipe" in capsys.readouterr().out
    assert [len(begun(tmp_path, n)) for n in ("wrong", "late", "good")] == [1, 1, 1]
    assert not list(tmp_path.glob("trainings/*/diverged.txt"))


def test_what_becomes_known_goes_before_what_waits(tmp_path, stand_in, capsys):
    """A final is known when its search is done, and is begun before a later method's trials."""
    first, final, other = (Training(n, "m", "final", {}, 1) for n in ("good1", "good2", "good3"))

    def known():
        searched = progress.is_settled(tmp_path, first)
        return [first, final, other] if searched else [first, other]

    assert run(tmp_path, known=known, machine=Machine(0, 1, time.monotonic() + 30))
    started = [line for line in capsys.readouterr().out.splitlines() if "started" in line]
    assert [line.partition(":")[0] for line in started] == ["good1", "good2", "good3"]


def test_the_session_ends_in_time_and_what_runs_may_save(tmp_path, stand_in):
    start = time.monotonic()
    assert not run(tmp_path, "long", "good", machine=Machine(0, 1, start + 6))
    assert time.monotonic() - start < 8
    assert (tmp_path / "trainings" / "long" / "saved").exists()
    assert begun(tmp_path, "good") == [], "one slot only"
