"""The package's own values, times and flow fields; run by the Python of its environment.

Usage: python package_side.py VIDEOS OUT (parity | speed)
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
import time

import numpy as np
import torch

SIX = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality"),
)


def main(videos, out, what):
    """Write ``package.json`` and, for parity, ``flows.npz`` and ``frames.npz``."""
    import vbench

    torch.set_num_threads(1)
    os.makedirs(out, exist_ok=True)
    info = os.path.join(os.path.dirname(vbench.__file__), "VBench_full_info.json")
    bench = vbench.VBench(torch.device("cpu"), info, out)
    found = {"values": {}, "scores": {}, "seconds": {}}
    for name in (*SIX, "appearance_style"):
        importlib.import_module(f"vbench.{name}")
        start = time.process_time()
        mode = "vbench_standard" if name == "appearance_style" else "custom_input"
        bench.evaluate(videos, name, dimension_list=[name], local=True, mode=mode)
        found["seconds"][name] = time.process_time() - start
        with open(os.path.join(out, f"{name}_eval_results.json")) as file:
            score, rows = json.load(file)[name]
        found["scores"][name] = score
        found["values"][name] = {
            os.path.basename(row["video_path"]): float(row["video_results"]) for row in rows
        }
    static = static_filter()
    start = time.process_time()
    paths = [os.path.join(videos, name) for name in sorted(os.listdir(videos))]
    found["static"] = {os.path.basename(path): bool(static.infer(path)) for path in paths}
    found["seconds"]["static_filter"] = time.process_time() - start
    found["versions"] = {
        name: importlib.metadata.version(name)
        for name in ("vbench", "torch", "torchvision", "pyiqa", "decord", "opencv-python")
    }
    with open(os.path.join(out, "package.json"), "w") as file:
        json.dump(found, file, indent=1)
    if what == "parity":
        flows, frames = {}, {}
        for path in paths:
            key = os.path.basename(path)
            flows[key], frames[key] = fields(static, path)
        np.savez(os.path.join(out, "flows.npz"), **flows)
        np.savez(os.path.join(out, "frames.npz"), **frames)


def static_filter():
    """Return the package's static filter on the CPU."""
    module = importlib.import_module("vbench.cli.static_filter")
    module.DEVICE = "cpu"
    parser = argparse.ArgumentParser()
    module.register_subparsers(parser.add_subparsers())
    given = ["static_filter", "--videos_path", "unused"]
    return module.StaticFilter(parser.parse_args(given), device="cpu")


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
    main(*sys.argv[1:])
