"""Whole evaluations of the same videos, each timed from the start of its processes to their end.

Usage: python whole.py VIDEOS CACHE_FOLDER OUT (cpu | cuda) ROUNDS PACKAGE_PYTHON

Three ways, in turn, round after round, over the seven dimensions and the static filter:

    package, a process for each   as this harness runs the package, and as its own evaluate.sh does:
                                  every dimension imports, loads and decodes for itself
    package, one process          all dimensions in one call: imports are shared
    native                        one process, with the digests' check; "still": if nothing moved

``PACKAGE_PATH`` in the environment becomes the package's ``PYTHONPATH``. On a CPU all have one
thread. Writes ``whole_cpu.csv`` or ``whole_cuda.csv`` to OUT.
"""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed import PAIRS, STILL

HERE = Path(__file__).parent
THEIRS = [step for steps, _ in PAIRS for step in steps]
MOVING = [step for _, steps in PAIRS for step in steps if STILL not in step]
STANDING = [step for _, steps in PAIRS for step in steps if step + STILL not in steps]
COLUMNS = (*("round", "folder", "videos", "way", "processes", "processor_seconds", "wall_seconds"),)


def ways(package, native):
    """Return each way's processes: a command, what it is asked, and its additional environment."""
    path = {"PYTHONPATH": os.environ["PACKAGE_PATH"]} if "PACKAGE_PATH" in os.environ else {}
    apart = [["importing", step] for step in THEIRS if step != "importing"]
    return {
        "package, a process for each": [(package, steps, path) for steps in apart],
        "package, one process": [(package, THEIRS, path)],
        "native": [(native, MOVING, {})],
        "native, still": [(native, STANDING, {})],
    }


def timed(processes):
    """Run processes one after another; return their processor seconds and the wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command, steps, more in processes:
        with tempfile.TemporaryDirectory() as digests:  # none is remembered from a round before
            subprocess.run(
                command,
                input="".join(f"{step}\n" for step in steps),
                stdout=subprocess.DEVNULL,
                text=True,
                check=True,
                env={**os.environ, **more, "RCM_BENCH_CACHE": digests},
            )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    videos, cache, out, device, rounds, python = sys.argv[1:]
    what = (Path(videos).name, len(list(Path(videos).glob("*.mp4"))))
    Path(out).mkdir(parents=True, exist_ok=True)
    package = [python, str(HERE / "package_side.py"), videos, out, device]
    native = [sys.executable, str(HERE / "native_side.py"), videos, cache, out, device]
    with (Path(out) / f"whole_{device}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for number in range(int(rounds)):
            for way, processes in ways(package, native).items():
                seconds = [f"{x:.2f}" for x in timed(processes)]
                table.writerow((number, *what, way, len(processes), *seconds))
                file.flush()
                print(number, way, *seconds, flush=True)
