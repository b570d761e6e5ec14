"""The package's own values, times and flow fields; run by a Python that has the package.

Usage: python package_side.py VIDEOS OUT parity
       python package_side.py VIDEOS OUT (cpu | cuda)     times, asked for by ``speed.py``
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import sys

import numpy as np
import stand_ins
import torch
from serve import serve

SIX = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality"),
)
STYLE = "appearance_style"


def evaluator(videos, out, device):
    """Return a function that scores all videos in one dimension, as the package's own call does."""
    import vbench

    os.makedirs(out, exist_ok=True)
    info = os.path.join(os.path.dirname(vbench.__file__), "VBench_full_info.json")
    bench = vbench.VBench(torch.device(device), info, out)

    def evaluate(name):
        mode = "vbench_standard" if name == "appearance_style" else "custom_input"
        bench.evaluate(videos, name, dimension_list=[name], local=True, mode=mode)

    return evaluate


def steps(videos, out, device):
    """Return what is timed: each dimension, and the static filter; networks are loaded anew."""
    state = {}

    def importing():
        for name in (*SIX, STYLE, "cli.static_filter"):
            importlib.import_module(f"vbench.{name}")
        state["evaluate"] = evaluator(videos, out, device)

    def filtered():
        static = static_filter(device)
        for name in sorted(os.listdir(videos)):
            static.infer(os.path.join(videos, name))

    own = {name: lambda name=name: state["evaluate"](name) for name in (*SIX, STYLE)}
    return {"importing": importing, **own, "static_filter": filtered}


def parity(videos, out):
    """Write ``package.json``, ``flows.npz`` and ``frames.npz``."""
    evaluate = evaluator(videos, out, "cpu")
    found = {"values": {}, "scores": {}}
    for name in (*SIX, STYLE):
        evaluate(name)
        with open(os.path.join(out, f"{name}_eval_results.json")) as file:
            score, rows = json.load(file)[name]
        found["scores"][name] = score
        found["values"][name] = {
            os.path.basename(row["video_path"]): float(row["video_results"]) for row in rows
        }
    static = static_filter("cpu")
    paths = [os.path.join(videos, name) for name in sorted(os.listdir(videos))]
    found["static"] = {os.path.basename(path): bool(static.infer(path)) for path in paths}
    found["versions"] = {
        name: importlib.metadata.version(name)
        for name in ("vbench", "torch", "torchvision", "pyiqa", "decord", "opencv-python")
    }
    with open(os.path.join(out, "package.json"), "w") as file:
        json.dump(found, file, indent=1)
    flows, frames = {}, {}
    for path in paths:
        key = os.path.basename(path)
        flows[key], frames[key] = fields(static, path)
    np.savez(os.path.join(out, "flows.npz"), **flows)
    np.savez(os.path.join(out, "frames.npz"), **frames)


def static_filter(device):
    """Return the package's static filter."""
    module = importlib.import_module("vbench.cli.static_filter")
    module.DEVICE = device
    parser = argparse.ArgumentParser()
    module.register_subparsers(parser.add_subparsers())
    given = ["static_filter", "--videos_path", "unused"]
    return module.StaticFilter(parser.parse_args(given), device=device)


def fields(static, path):
    """Return the flow of every pair that the filter looks at, and the frames as decord has them."""
    from vbench.third_party.RAFT.core.utils_core.utils import InputPadder
    from vbench.utils import load_video

    frames = static.get_frames(path)
    found = []
    with torch.no_grad():
        starts = [*frames[:-1], frames[0], frames[-1]]
        ends = [*frames[1:], frames[-1], frames[0]]
        for first, second in zip(starts, ends, strict=True):
            padded = InputPadder(first.shape).pad(first, second)
            found.append(static.model(*padded, iters=20, test_mode=True)[1][0].numpy())
    return np.stack(found), load_video(path, return_tensor=False)


if __name__ == "__main__":
    stand_ins.install()
    what = sys.argv[3]
    if what != "cuda":
        torch.set_num_threads(1)
    if what == "parity":
        parity(*sys.argv[1:3])
    else:
        serve(lambda: steps(*sys.argv[1:]))
