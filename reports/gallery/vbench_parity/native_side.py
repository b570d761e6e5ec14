"""The native dimensions' values, times and flow fields, held against the package's.

Usage: python native_side.py VIDEOS CACHE_FOLDER OUT (parity | speed)

Reads what ``package_side.py`` wrote to OUT; writes ``parity.csv`` or ``speed.csv`` here.
"""

import csv
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from rcm_bench.vbench.native.dynamic_degree import TOP, chosen, moves
from rcm_bench.vbench.native.evaluate import Networks, evaluate, static
from rcm_bench.vbench.native.flow import Flow
from rcm_bench.vbench.native.parts import aggregate
from rcm_bench.vbench.native.weights import NEEDED, WeightFiles
from rcm_bench.video import read_video

HERE = Path(__file__).parent
ONE_BY_ONE = ("subject_consistency", "temporal_flickering", "dynamic_degree", "imaging_quality")
SHARED = ("background_consistency", "aesthetic_quality")
STYLE = "appearance_style"
PER_VIDEO_SCALE = {"imaging_quality": 100.0}


def style_of(path):
    """Return the style that the prompt in a file's name ends with."""
    return path.stem.removesuffix("-0").rpartition(", ")[2]


def weight_files(folder):
    """Name every file's own digest: the weights are random, and made here."""
    names = {name for needed in NEEDED.values() for name in needed}
    digests = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    return WeightFiles(folder=folder, digests=digests)


def measure(paths, files):
    """Return parts by dimension and video, what the filter kept, and processor seconds."""
    seconds, parts, kept = {}, {name: {} for name in NEEDED}, {}
    networks = Networks(files, "cpu")

    def timed(step, work):
        start = time.process_time()
        value = work()
        seconds[step] = seconds.get(step, 0.0) + time.process_time() - start
        return value

    names = ("dino", "clip_b", "clip_l", "aesthetic", "musiq", "flow")
    timed("loading", lambda: [getattr(networks, name) for name in names])
    for path in paths:
        video = timed("decoding", lambda path=path: read_video(path))
        for asked in (*((name,) for name in ONE_BY_ONE), SHARED, (STYLE,)):
            found = timed(
                " and ".join(asked),
                lambda asked=asked, path=path, video=video: evaluate(
                    video, asked, networks, style_of(path)
                ),
            )
            for name, value in found.items():
                parts[name][path.name] = value
        kept[path.name] = timed("static_filter", lambda video=video: static(video, networks))
    return parts, kept, seconds, networks


def parity(paths, files, out):
    """Compare every value, score, decision, flow field and frame."""
    parts, kept, _, networks = measure(paths, files)
    package = json.loads((out / "package.json").read_text())
    rows = []
    for name, videos in parts.items():
        for index, (video, part) in enumerate(videos.items()):
            theirs = package["values"][name][video] / PER_VIDEO_SCALE.get(name, 1.0)
            rows.append((name, f"video {index}", theirs, part.value))
        rows.append((name, "score", package["scores"][name], aggregate(videos.values())))
    for index, (video, flag) in enumerate(kept.items()):
        rows.append(("static_filter", f"video {index}", package["static"][video], float(flag)))
    flows, frames = np.load(out / "flows.npz"), np.load(out / "frames.npz")
    for index, path in enumerate(paths):
        video = read_video(path)
        wrong = np.abs(video.frames.astype(int) - frames[path.name]).max()
        rows.append(("frames", f"video {index}", 0.0, float(wrong)))
        last = len(video.frames) - 1
        pairs = [*((t, t + 1) for t in range(last)), (0, last), (last, 0)]
        ours = np.concatenate([field(networks.flow, video, pair) for pair in pairs])
        theirs = flows[path.name]
        rows.append(("flow, largest difference in px", f"video {index}", 0.0, worst(ours, theirs)))
        rows.append(("flow, largest speed in px", f"video {index}", fastest(theirs), fastest(ours)))
    with (HERE / "parity.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("what", "of", "package", "native", "difference"))
        for what, of, theirs, own in rows:
            values = (f"{float(theirs):.7g}", f"{own:.7g}", f"{abs(float(theirs) - own):.1e}")
            table.writerow((what, of, *values))


def field(flow, video, pair):
    """Return one pair's flow as an array."""
    with torch.inference_mode():
        return flow.between(video.frames_bt601, [pair]).numpy()


def worst(ours, theirs):
    """Return the largest difference of two stacks of flow fields."""
    return float(np.abs(ours - theirs).max())


def fastest(flows):
    """Return the largest speed of a stack of flow fields."""
    return float(np.sqrt(np.square(flows).sum(1)).max())


def speed(paths, files, out):
    """Write processor seconds of both sides; two dimensions also without leaving early."""
    package = json.loads((out / "package.json").read_text())["seconds"]
    _, _, seconds, networks = measure(paths, files)
    for path in paths:
        video = read_video(path)
        every_pair(networks.flow, video, seconds)
    with (HERE / "speed.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("side", "step", "seconds"))
        for side, found in (("package", package), ("native", seconds)):
            for step, value in found.items():
                table.writerow((side, step, f"{value:.2f}"))


def every_pair(flow: Flow, video, seconds):
    """Time the flow of all pairs that the package computes, whatever the decision needs."""
    frames, count = video.frames_bt601, len(video.frames)
    index = chosen(count, video.fps)
    last = count - 1
    jobs = {
        "dynamic_degree, every pair": list(zip(index[:-1], index[1:], strict=True)),
        "static_filter, every pair": [*((t, t + 1) for t in range(last)), (0, last), (last, 0)],
    }
    for step, pairs in jobs.items():
        start = time.process_time()
        speeds = list(flow.magnitudes(frames, pairs, TOP))
        seconds[step] = seconds.get(step, 0.0) + time.process_time() - start
        moves(speeds, len(index), min(frames.shape[1:3]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    videos, cache, folder, what = sys.argv[1:]
    listed = sorted(Path(videos).glob("*.mp4"))
    {"parity": parity, "speed": speed}[what](listed, weight_files(Path(cache)), Path(folder))
