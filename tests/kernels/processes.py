"""Start the processes of ranks.py and collect what they found."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def run_ranks(task, num, folder, device="cpu", **environment):
    """Return the seed and one result for each process."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    paths = os.pathsep.join([str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "SEED": str(seed), "OMP_NUM_THREADS": "1",
                   **environment}  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("ranks.py")), task]
    meeting, results = folder / "meeting", [folder / f"{rank}.pt" for rank in range(num)]
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(num), str(meeting), str(results[rank]), device],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(num)
    ]  # fmt: skip
    try:
        said = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, text in zip(workers, said, strict=True):
        assert worker.returncode == 0, text
    return seed, [torch.load(path) for path in results]
