"""The native dimensions' values, times and flow fields, held against the package's.

Usage: python native_side.py VIDEOS CACHE_FOLDER OUT parity
       python native_side.py VIDEOS CACHE_FOLDER OUT (cpu | cuda)     times, for ``speed.py``

For parity it reads what ``package_side.py`` wrote to OUT and writes ``parity.csv`` here.
"""

import csv
import hashlib
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import stand_ins
import torch
from serve import serve

from rcm_bench.vbench.native.dynamic_degree import dynamic_degree
from rcm_bench.vbench.native.evaluate import Networks, evaluate, static
from rcm_bench.vbench.native.parts import aggregate
from rcm_bench.vbench.native.pixels import on_device
from rcm_bench.vbench.native.static_filter import is_static
from rcm_bench.vbench.native.weights import NEEDED, WeightFiles
from rcm_bench.video import Video, read_video

HERE = Path(__file__).parent
TOGETHER = (
    *(("subject_consistency",), ("background_consistency", "aesthetic_quality")),
    *(("temporal_flickering",), ("dynamic_degree",), ("imaging_quality",), ("appearance_style",)),
)
LIBRARIES = ("timm", "open_clip", "pyiqa.archs.musiq_arch", "torchvision.models.optical_flow")
PER_VIDEO_SCALE = {"imaging_quality": 100.0}


def style_of(path):
    """Return the style that the prompt in a file's name ends with."""
    return path.stem.rpartition("-")[0].rpartition(", ")[2]


def weight_files(folder):
    """Name every file's own digest: the weights are random, and made here."""
    names = {name for needed in NEEDED.values() for name in needed}
    digests = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    return WeightFiles(folder=folder, digests=digests)


def measure(paths, files):
    """Return parts by dimension and video, what the filter kept, and the networks."""
    parts, kept = {name: {} for name in NEEDED}, {}
    networks = Networks(files, "cpu")
    for path in paths:
        video = read_video(path)
        for name, value in evaluate(video, tuple(NEEDED), networks, style_of(path)).items():
            parts[name][path.name] = value
        kept[path.name] = static(video, networks)
    return parts, kept, networks


def parity(paths, files, out):
    """Compare every value, score, decision, flow field and frame."""
    parts, kept, networks = measure(paths, files)
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
        return flow.between(on_device(video.frames_bt601, flow.device), [pair]).numpy()


def worst(ours, theirs):
    """Return the largest difference of two stacks of flow fields."""
    return float(np.abs(ours - theirs).max())


def fastest(flows):
    """Return the largest speed of a stack of flow fields."""
    return float(np.sqrt(np.square(flows).sum(1)).max())


def importing():
    """Import what builds the networks; torch is there on both sides."""
    for name in LIBRARIES:
        importlib.import_module(name)


def steps(paths, files, device):
    """Return what is timed, in the order to ask for: networks and videos serve all that follows."""
    state = {}

    def checking():
        files.check_all(list(files.digests))

    def loading():
        state["networks"] = Networks(files, device)
        for name in ("dino", "clip_b", "clip_l", "aesthetic", "musiq", "flow"):
            getattr(state["networks"], name)

    def decoding():
        state["videos"] = [(frames_of(path), style_of(path)) for path in paths]

    def scored(*names):
        def work():
            for video, style in state["videos"]:
                evaluate(video, names, state["networks"], style)

        return work

    def filtered():
        for video, _ in state["videos"]:
            static(video, state["networks"])

    def still(dimension):
        def work():
            for video, _ in state["videos"]:
                nothing_moves(state["networks"].flow, video, dimension, device)

        return work

    dimensions = {" and ".join(names): scored(*names) for names in TOGETHER}
    return {
        **{"importing": importing, "checking": checking, "loading": loading},
        **{"decoding": decoding, **dimensions, "static_filter": filtered},
        **{f"{name}, still": still(name) for name in ("dynamic_degree", "static_filter")},
    }


class Still:
    """Computes the flow that is asked for and says that nothing moves: what a still video costs."""

    def __init__(self, flow):
        self.flow = flow

    def magnitudes(self, frames, pairs, top):
        """Yield 0 for each pair, once its flow is there."""
        return (0.0 * speed for speed in self.flow.magnitudes(frames, pairs, top))


def nothing_moves(flow, video, dimension, device):
    """Decide as if the video stood still."""
    frames = on_device(video.frames_bt601, device)
    if dimension == "dynamic_degree":
        assert not dynamic_degree(frames, video.fps, Still(flow)).value
    else:
        assert is_static(frames, Still(flow))


def frames_of(path):
    """Read a video; by OpenCV, as the other side does then, where PyAV is not installed."""
    if importlib.util.find_spec("av") is not None:
        return read_video(path)
    import cv2

    found, reader = [], cv2.VideoCapture(str(path))
    while (read := reader.read())[0]:
        found.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    frames = np.stack(found)
    return Video(frames=frames, fps=reader.get(cv2.CAP_PROP_FPS), frames_bt601=frames)


if __name__ == "__main__":
    stand_ins.install()
    videos, cache, folder, what = sys.argv[1:]
    if what != "cuda":
        torch.set_num_threads(1)
    listed, files = sorted(Path(videos).glob("*.mp4")), weight_files(Path(cache))
    if what == "parity":
        parity(listed, files, Path(folder))
    else:
        serve(lambda: steps(listed, files, what))
