"""One dimension of VBench, run by the Python of the package's own environment.

Nothing of the harness is imported here: the file is given to another interpreter, with a job as
JSON. It calls the package's documented class in one process. Differs from ``vbench evaluate``,
which puts the same call behind torch.distributed (it needs NCCL, so a GPU), joins its arguments
into a line for a shell, names its files by the clock, and exits with 0 whatever happened.
"""

import argparse
import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_I2V_IMAGES = os.path.join("vbench2_beta_i2v", "data")


def main(path: str) -> None:
    """Evaluate the job in a file, or report which dimensions can be imported."""
    _die_with_the_harness()
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    if job["kind"] == "probe":
        _probe(job)
    else:
        _evaluate(job)


def _die_with_the_harness() -> None:
    """Ask the kernel to end this process with its parent; a killed run leaves no GPU taken."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux: the time limit still holds
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _probe(job: "dict[str, Any]") -> None:
    """Write, for each dimension, None or why its module cannot be imported."""
    faults: dict[str, str | None] = {}
    for dimension, module in job["modules"].items():
        try:
            importlib.import_module(module)
            faults[dimension] = None
        except Exception as fault:  # whatever a foreign module raises is the answer
            faults[dimension] = f"{type(fault).__name__}: {fault}"
    with open(job["result"], "w", encoding="utf-8") as file:
        json.dump(faults, file)


def _evaluate(job: "dict[str, Any]") -> None:
    import torch

    device = torch.device(job["device"])
    videos = job["videos"]
    if job["filter"]:
        videos = _filtered(videos, job["output"], job["device"])
    common = {"videos_path": videos, "name": job["name"], "dimension_list": [job["dimension"]]}
    if job["kind"] == "i2v":
        # The package looks for the images below the working folder.
        os.makedirs(os.path.dirname(_I2V_IMAGES), exist_ok=True)
        os.symlink(job["images"], _I2V_IMAGES)
        package = importlib.import_module("vbench2_beta_i2v")
        bench = package.VBenchI2V(device, job["info"], job["output"])
        extra = {"resolution": job["resolution"]}
    else:
        package = importlib.import_module("vbench")
        bench = package.VBench(device, job["info"], job["output"])
        extra = {"mode": job["kind"], "prompt_list": job["prompts"]}
    bench.evaluate(
        **common,
        **extra,
        local=True,
        read_frame=False,
        imaging_quality_preprocessing_mode="longer",
    )


def _filtered(videos: str, output: str, device: str) -> str:
    """Run the package's static filter and return its folder of the first five static videos."""
    module: Any = importlib.import_module("vbench.cli.static_filter")
    module.DEVICE = device
    parser = argparse.ArgumentParser()
    module.register_subparsers(parser.add_subparsers())
    given = ["static_filter", "--videos_path", videos, "--result_path", output]
    module.static_filter(parser.parse_args(given))
    return os.path.join(output, "filtered_videos")


if __name__ == "__main__":
    main(sys.argv[1])
