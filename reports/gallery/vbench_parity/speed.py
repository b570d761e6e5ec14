"""Times of both sides, in alternation, on one machine.

Usage: python speed.py VIDEOS CACHE_FOLDER OUT (cpu | cuda) ROUNDS PACKAGE_PYTHON

PACKAGE_PYTHON is a Python that has the package; ``PACKAGE_PATH`` in the environment becomes its
``PYTHONPATH``. Each side is one process, and each step is done by the package and then by us, round
after round. On a CPU both have one thread. Writes ``speed_cpu.csv`` or ``speed_cuda.csv`` to OUT.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAIRS = (
    # What the package does, and what we do for it.
    (("importing",), ("importing", "checking", "loading", "decoding")),
    (("subject_consistency",), ("subject_consistency",)),
    (
        ("background_consistency", "aesthetic_quality"),
        ("background_consistency and aesthetic_quality",),
    ),
    (("temporal_flickering",), ("temporal_flickering",)),
    (("dynamic_degree",), ("dynamic_degree", "dynamic_degree, still")),
    (("imaging_quality",), ("imaging_quality",)),
    (("appearance_style",), ("appearance_style",)),
    (("static_filter",), ("static_filter", "static_filter, still")),
)
STILL = ", still"


def start(command, path=None):
    """Start a side; its libraries' words go to our standard error."""
    environment = dict(os.environ) if path is None else {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def ask(side, step):
    """Let a side do a step; return its processor and wall seconds."""
    side.stdin.write(step + "\n")
    side.stdin.flush()
    return json.loads(side.stdout.readline() or sys.exit(f"no answer for {step}"))


def measure(sides, rounds):
    """Return rows of round, side, step, processor seconds and wall seconds."""
    rows = []
    for number in range(rounds):
        for theirs, ours in PAIRS:
            for side, names in (("package", theirs), ("native", ours)):
                for step in names:
                    found = ask(sides[side], step)
                    rows.append((number, side, step, found["processor"], found["wall"]))
                    print(*rows[-1][:3], *(f"{x:.2f}" for x in rows[-1][3:]), flush=True)
    return rows


def say(rows, column):
    """Print how many times faster we are, from medians over the rounds."""
    found = {}
    for row in rows:
        found.setdefault(row[1:3], []).append(row[column])
    median = {key: statistics.median(values) for key, values in found.items()}
    package = sum(v for (side, _), v in median.items() if side == "package")
    own = {step: v for (side, step), v in median.items() if side == "native"}
    moving = {step: v for step, v in own.items() if STILL not in step}
    still = {step: v for step, v in moving.items() if step + STILL not in own}
    still |= {step: v for step, v in own.items() if STILL in step}
    for what, steps in (("as they are", moving), ("if nothing moved", still)):
        native = sum(steps.values())
        print(f"{what}: package {package:.1f} s, native {native:.1f} s: {package / native:.2f}")


if __name__ == "__main__":
    videos, cache, out, device, rounds, python = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    sides = {
        "package": start(
            [python, HERE / "package_side.py", videos, out, device], os.environ.get("PACKAGE_PATH")
        ),
        "native": start([sys.executable, HERE / "native_side.py", videos, cache, out, device]),
    }
    rows = measure(sides, int(rounds))
    with (Path(out) / f"speed_{device}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("round", "side", "step", "processor_seconds", "wall_seconds"))
        table.writerows((*row[:3], f"{row[3]:.3f}", f"{row[4]:.3f}") for row in rows)
    last = [row for row in rows if row[0] == rows[-1][0]]  # on a GPU the first warms it up
    for which, own in (("all rounds", rows), ("last round", last)):
        for what, column in (("processor", 3), ("wall", 4)):
            print(f"{which}, {what} seconds")
            say(own, column)
    for side in sides.values():
        side.stdin.close()
        side.wait()
