"""Runs the trainings of a study within a session: several on a device, stopped in time, resumed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, NamedTuple

from rcm_bench.exit_codes import DONE, INCOMPLETE, USER
from rcm_bench.method_study.progress import failure, is_settled
from rcm_bench.method_study.trainings import Training

STOPPING_SECONDS = 18.0
"""Before the end of a session trainings are told to stop and save; then they are killed."""
TRIES = 3
"""So often in a session a training is begun that ends by a fault of the machine."""
_POLL_SECONDS = 0.2


class Machine(NamedTuple):
    """What a session has.

    Attributes:
        devices: GPUs; 0 for a CPU.
        per_device: Trainings at once on each; with ``needs``, processes, of which one trains.
        deadline: ``time.monotonic()`` at which everything must have ended.
        needs: Seconds that a training takes: trainings then take turns on their device, and one
            that could not end in time is not begun. None: they share it, and are stopped in time.
    """

    devices: int
    per_device: int
    deadline: float
    needs: Callable[[Training], float] | None = None


class _Running(NamedTuple):
    training: Training
    slot: tuple[int, str]
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]


def run_trainings(
    known: Callable[[], Iterable[Training]],
    recipe: Callable[[Training], Path],
    out: Path,
    machine: Machine,
) -> bool:
    """Train what is not settled yet, the first of the order first, until the session ends.

    A training is settled when it is done or has diverged, which its file ``diverged.txt`` says; it
    is tried again when that file is deleted. Every other end says nothing about its method: it is
    begun again, ``TRIES`` times in a session, and goes on from its last state.

    Args:
        known: Returns the trainings that are known so far, in order; asked again as they end.
        recipe: Writes the recipe of a training.
        out: Folder of the study.
        machine: Where, and for how long.

    Returns:
        Whether all that is known in the end is settled.
    """
    devices = gpus(machine.devices) or ["0"]  # a CPU has a turn too
    running: list[_Running] = []
    slots = list(enumerate(devices * machine.per_device))
    threads = max(1, (os.cpu_count() or 1) // len(slots))
    begun: Counter[str] = Counter()
    try:
        while time.monotonic() < machine.deadline - STOPPING_SECONDS:
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                slots.append(one.slot)
                if not _may_go_on(one, out):
                    begun[one.training.name] = TRIES
            busy = {one.training.name for one in running}
            for training in known() if slots else ():
                name = training.name
                if name in busy or begun[name] >= TRIES or is_settled(out, training):
                    continue
                begun[name] += 1
                slot = slots.pop(0)
                running.append(_start(training, recipe(training), slot, machine, threads, out))
                if not slots:
                    break
            if not running:
                break
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(running, min(machine.deadline, time.monotonic() + STOPPING_SECONDS))
    return all(is_settled(out, training) for training in known())


def gpus(number: int) -> list[str]:
    """Return the names of as many GPUs, those of ``CUDA_VISIBLE_DEVICES`` where it is set.

    Raises:
        ValueError: It names fewer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(device) for device in range(number)]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if len(names) < number:
        raise ValueError(
            f"--devices: expected at most the {len(names)} GPUs of CUDA_VISIBLE_DEVICES="
            f"{visible}, got {number}"
        )
    return names[:number]


def _start(
    training: Training,
    recipe: Path,
    slot: tuple[int, str],
    machine: Machine,
    threads: int,
    out: Path,
) -> _Running:
    folder = out / "trainings" / training.name
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "output.txt").open("ab")
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    number, device = slot
    if machine.devices:
        environment["CUDA_VISIBLE_DEVICES"] = device
    command = [sys.executable, "-m", "rcm_bench.method_study.turns", str(recipe), str(folder)]
    command += ["--device", "cuda" if machine.devices else "cpu"]
    if machine.needs is not None:
        command += ["--turn", str(out / f"turn.{device}"), "--needs", str(machine.needs(training))]
        command += ["--until", str(machine.deadline - STOPPING_SECONDS)]
    # A process group of its own: Ctrl-C reaches the driver alone, which then asks for one stop.
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    print(f"{training.name}: started in slot {number}", flush=True)
    return _Running(training, slot, process, log)


def _stop(running: Iterable[_Running], until: float) -> None:
    """Ask all to save and stop, and kill what has not in time."""
    for one in running:
        one.process.send_signal(signal.SIGTERM)
    for one in running:
        try:
            one.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        one.log.close()
        ended = "done" if one.process.returncode == DONE else "stopped, goes on in the next session"
        print(f"{one.training.name}: {ended}", flush=True)


def _may_go_on(one: _Running, out: Path) -> bool:
    """Say how a training ended by itself, and whether it is worth another try in this session."""
    one.log.close()
    code, name = one.process.returncode, one.training.name
    folder = out / "trainings" / name
    if code == DONE:
        said = "done"
    elif (why := failure(out, one.training)) is not None:
        said = f"diverged: {why}"
    elif code == INCOMPLETE:
        said = "no time left for it in this session"
    else:
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        fault = "wrong" if code == USER else f"a fault of the machine, code {code}"
        said = f"{fault}: {last}"
    print(f"{name}: {said}", flush=True)
    return code not in (INCOMPLETE, USER)
