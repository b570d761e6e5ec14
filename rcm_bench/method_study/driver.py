"""Runs the trainings of a study within a session: several on a device, stopped in time, resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from rcm_bench.exit_codes import INCOMPLETE, INTERRUPTED
from rcm_bench.method_study.progress import failure, is_done
from rcm_bench.method_study.trainings import Training

STOPPING_SECONDS = 25.0
"""Before the end of a session trainings are told to stop and save; then they are killed."""
_POLL_SECONDS = 0.2


class Job(NamedTuple):
    """A training and its recipe."""

    training: Training
    recipe: Path


class Machine(NamedTuple):
    """What a session has.

    Attributes:
        devices: GPUs; 0 for a CPU.
        per_device: Trainings at once on each; with ``needs``, processes, of which one trains.
        deadline: ``time.monotonic()`` at which everything must have ended.
        needs: Seconds that a training takes: trainings then take turns on the one device, and one
            that could not end in time is not begun. None: they share it, and are stopped in time.
    """

    devices: int
    per_device: int
    deadline: float
    needs: Callable[[Training], float] | None = None


class _Running(NamedTuple):
    job: Job
    slot: int
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]


def run_jobs(jobs: Sequence[Job], out: Path, machine: Machine) -> bool:
    """Train what is not done yet, in order, until all is done or the session ends.

    A training that ends by itself with a fault is not tried again until the file ``failed.txt`` in
    its folder, which keeps its message, is deleted. One that is stopped at the end of the session
    has saved its state and goes on in the next.

    Args:
        jobs: The trainings.
        out: Folder of the study.
        machine: Where, and for how long.

    Returns:
        Whether all trainings are done or have failed.
    """
    waiting = [job for job in jobs if not _settled(out, job)]
    running: list[_Running] = []
    slots = list(range(max(1, machine.devices) * machine.per_device))
    threads = max(1, (os.cpu_count() or 1) // len(slots))
    try:
        while (waiting or running) and time.monotonic() < machine.deadline - STOPPING_SECONDS:
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                slots.append(one.slot)
                _close(one, out)
            while waiting and slots:
                running.append(_start(waiting.pop(0), slots.pop(0), machine, threads, out))
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(running, out, machine.deadline)
    return all(_settled(out, job) for job in jobs)


def _settled(out: Path, job: Job) -> bool:
    return is_done(out, job.training) or failure(out, job.training) is not None


def _start(job: Job, slot: int, machine: Machine, threads: int, out: Path) -> _Running:
    folder = out / "trainings" / job.training.name
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "output.txt").open("ab")
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    if machine.devices:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % machine.devices)
    command = [sys.executable, "-m", "rcm_bench", "distill", str(job.recipe), "--out", str(folder)]
    if machine.needs is not None:
        command = [sys.executable, "-m", "rcm_bench.method_study.turns", str(job.recipe)]
        command += [str(folder), "--turn", str(out / "turn"), "--needs"]
        command += [str(machine.needs(job.training)), "--until"]
        command += [str(machine.deadline - STOPPING_SECONDS)]
    # A process group of its own: Ctrl-C reaches the driver alone, which then asks for one stop.
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    print(f"{job.training.name}: started in slot {slot}", flush=True)
    return _Running(job, slot, process, log)


def _stop(running: Sequence[_Running], out: Path, deadline: float) -> None:
    """Ask all to save and stop, and kill what has not by the deadline."""
    for one in running:
        one.process.send_signal(signal.SIGTERM)
    for one in running:
        try:
            one.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        _close(one, out)


def _close(one: _Running, out: Path) -> None:
    """Note how a training ended: done, stopped, or failed for good."""
    one.log.close()
    code, name = one.process.returncode, one.job.training.name
    folder = out / "trainings" / name
    if code == 0:
        print(f"{name}: done", flush=True)
    elif code in (-signal.SIGTERM, -signal.SIGKILL, INTERRUPTED):
        print(f"{name}: stopped, goes on in the next session", flush=True)
    elif code == INCOMPLETE:
        print(f"{name}: no time left for it in this session", flush=True)
    else:
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        message = lines[-1] if lines else f"ended with code {code}"
        (folder / "failed.txt").write_text(message + "\n", encoding="utf-8")
        print(f"{name}: failed: {message}", flush=True)
