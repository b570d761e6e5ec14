"""How long the native networks take to load, for several source trees in alternation.

Usage: python loading.py CACHE_FOLDER OUT ROUNDS LABEL=TREE [LABEL=TREE ...]

Each loading is a process of its own with one thread, that imports what it needs, finds no digest
remembered and has the files in the system's cache. Writes ``loading.csv`` to OUT: seconds, peak
memory, and the digest of all that the networks hold, which must not differ.
"""

import csv
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = ("dino", "clip_b", "clip_l", "aesthetic", "musiq")


def measure(cache):
    """Print what one loading took."""
    import native_side
    import torch

    torch.set_num_threads(1)
    networks = native_side.Networks(native_side.weight_files(Path(cache)), "cpu")
    check_all = getattr(networks.files, "check_all", None)

    def checking():
        if check_all:
            return check_all(list(networks.files.digests))
        return [networks.files.check(name) for name in networks.files.digests]

    rows = []

    def timed(step, work):
        processor, wall = time.process_time(), time.perf_counter()
        work()
        rows.append((step, time.process_time() - processor, time.perf_counter() - wall))

    timed("importing", native_side.importing)
    timed("checking", checking)
    for name in (*NETWORKS, "flow"):
        timed(name, lambda name=name: getattr(networks, name))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = [getattr(networks, name) for name in NETWORKS] + [networks.flow.raft]
    print(json.dumps({"rows": rows, "peak": peak / 1024, "held": digest(held)}))


def digest(held):
    """Return one digest of all Tensors of the networks, by name, with their types."""
    found = hashlib.sha256()
    for network in held:
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def ask(tree, cache):
    """Load once with the code of a tree."""
    here = Path(__file__).resolve().parent
    paths = [here, *(Path(tree).resolve() / part for part in ("", "distill", "kernels", "reports"))]
    with tempfile.TemporaryDirectory() as digests:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "RCM_BENCH_CACHE": digests,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, __file__, cache]
        made = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(made.stdout.splitlines()[-1])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(sys.argv[1])
        sys.exit()
    cache, out, rounds, *trees = sys.argv[1:]
    with (Path(out) / "loading.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ("round", "tree", "step", "processor_seconds", "wall_seconds", "peak_mib", "held")
        )
        for number in range(int(rounds)):
            for label, tree in (each.split("=", 1) for each in trees):
                found = ask(tree, cache)
                for step, *seconds in found["rows"]:
                    more = (f"{x:.3f}" for x in seconds)
                    row = (number, label, step, *more, f"{found['peak']:.0f}", found["held"])
                    table.writerow(row)
                file.flush()
                print(
                    label,
                    *(round(sum(r[i] for r in found["rows"]), 2) for i in (1, 2)),
                    round(found["peak"]),
                    found["held"],
                    flush=True,
                )
