"""A stand-in for the package vbench 0.1.5: its class, its files, its rows; scores from a digest.

`standing` makes an environment that holds it. It keeps what the harness relies on: the order of
work (weights, ``{name}_full_info.json``, the dimension, ``{name}_eval_results.json``), the
arguments, indices 0 to 4, a warning and no fault for a missing video, the keys of each row. How it
misbehaves is said by the variable ``STAND_IN``. `test_vbench_real.py` compares it with the package.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

AUXILIARY = {"object_class", "multiple_objects", "scene", "appearance_style", "color",
             "spatial_relationship"}  # fmt: skip
FRAMES = 16
CAMERA = "camera_motion"


def share(path, salt=""):
    """A number in [0, 1) made of a file's bytes."""
    data = Path(path).read_bytes() + salt.encode()
    return int(hashlib.sha256(data).hexdigest()[:8], 16) / 2**32


def counted(path):
    right = round(share(path) * FRAMES)
    return {"video_results": right / FRAMES, "success_frame_count": right, "frame_count": FRAMES}


def plain(path):
    return {"video_results": share(path)}


def row(dimension, path):
    """One video's row, as each module of the package writes it."""
    value = share(path)
    if dimension in ("object_class", "multiple_objects", "scene"):
        return counted(path)
    if dimension == "spatial_relationship":
        frames = [share(path, str(i)) for i in range(FRAMES)]
        return {"video_results": sum(frames) / FRAMES, "frame_results": frames}
    if dimension == "appearance_style":
        frames = [share(path, str(i)) for i in range(FRAMES)]
        return {"video_results": sum(frames) / FRAMES, "frame_results": frames,
                "cur_sim": frames[-1]}  # fmt: skip
    if dimension == "color":
        # A video without the object is left out.
        return {"video_results": value, "cur_success_frame_rate": value} if value > 0.25 else None
    if dimension == "human_action":
        return {"video_results": value > 0.5, "cor_num_per_video": int(value > 0.5)}
    if dimension == "background_consistency":
        return {"video_results": value, "video_sim": value * 8, "cnt_per_video": 8}
    if dimension == CAMERA:
        return {"video_results": float(value > 0.5), "prompt_type": "pan_left",
                "predict_type": ["pan_left" if value > 0.5 else "static"]}  # fmt: skip
    if dimension in ("i2v_subject", "i2v_background"):
        return {"image_path": "a.jpg", "video_results": value}
    if dimension == "dynamic_degree":
        return {"video_results": value > 0.5}
    if dimension == "imaging_quality":
        return {"video_results": 100 * value}
    return plain(path)


def pooled(dimension, rows):
    if rows and "frame_count" in rows[0]:
        return sum(r["success_frame_count"] for r in rows) / sum(r["frame_count"] for r in rows)
    scale = 0.01 if dimension == "imaging_quality" else 1
    return scale * sum(float(r["video_results"]) for r in rows) / len(rows)


class VBench:
    """The package's class; ``weights`` is filled in by `standing`."""

    weights: dict = {}

    def __init__(self, device, full_info_dir, output_path):
        self.device = device
        self.full_info_dir = full_info_dir
        self.output_path = output_path
        os.makedirs(self.output_path, exist_ok=True)

    def build_full_info_json(self, videos_path, name, dimension_list, prompt_list=(),
                             mode="vbench_standard"):  # fmt: skip
        names = os.listdir(videos_path)
        rows = []
        if mode == "custom_input":
            refused = AUXILIARY & set(dimension_list)
            assert not refused, f"dimensions : {refused} not supported for custom input"
            for found in names:
                prompt = re.sub(r"-\d+$", "", Path(found).stem)
                rows.append({"prompt_en": prompt, "dimension": dimension_list,
                             "video_list": [os.path.join(videos_path, found)]})  # fmt: skip
        else:
            suffix = Path(names[0]).suffix
            for entry in json.loads(Path(self.full_info_dir).read_text(encoding="utf-8")):
                if not set(dimension_list) & set(entry["dimension"]):
                    continue
                wanted = [f"{entry['prompt_en']}-{i}{suffix}" for i in range(5)]
                entry["video_list"] = [os.path.join(videos_path, n) for n in wanted if n in names]
                for missing in set(wanted) - set(names):
                    print(f"WARNING!!! This required video is not found! {missing}")
                rows.append(entry)
        path = os.path.join(self.output_path, name + "_full_info.json")
        Path(path).write_text(json.dumps(rows, indent=4), encoding="utf-8")
        return path

    def evaluate(self, videos_path, name, prompt_list=(), dimension_list=None, local=False,
                 read_frame=False, mode="vbench_standard", **kwargs):  # fmt: skip
        (dimension,) = dimension_list
        assert local and kwargs["imaging_quality_preprocessing_mode"] == "longer"
        cache = os.environ["VBENCH_CACHE_DIR"]
        for needed in self.weights.get(dimension, ()):
            if not os.path.exists(os.path.join(cache, needed)):
                raise subprocess.CalledProcessError(4, ["wget", needed])
        info = self.build_full_info_json(videos_path, name, dimension_list, prompt_list, mode=mode)
        print(f"cur_full_info_path: {info}", flush=True)
        found = json.loads(Path(info).read_text(encoding="utf-8"))
        videos = [v for entry in found for v in entry.get("video_list", [])]
        rows = [{"video_path": v, **r} for v in videos if (r := row(dimension, v)) is not None]
        output = Path(self.output_path, name + "_eval_results.json")
        rows = misbehave(os.environ.get("STAND_IN", ""), rows, output)
        value = pooled(dimension, rows) if rows else float("nan")
        middle = [{"pan_left": value, "static": float("nan")}] if dimension == CAMERA else []
        text = json.dumps({dimension: [value, *middle, rows]}, indent=4)
        output.write_text(text, encoding="utf-8")
        print(f"Evaluation results saved to {output}")


def misbehave(how, rows, output):
    """Do what processes do to those who start them."""
    print("".join(f"\r{i}%|####|" for i in range(100)), flush=True)
    if how == "crash":
        raise RuntimeError("CUDA out of memory. \x1b[31mTried to allocate 2.00 GiB")
    if how == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"child {child.pid}", flush=True)
        time.sleep(600)
    if how == "killed":
        os.kill(os.getpid(), 9)
    if how == "quiet":
        os._exit(0)
    if how == "torn":
        output.write_text('{"scene": [0.5, [{"video_pa', encoding="utf-8")
        os._exit(0)
    if how == "partial":
        return rows[:-1]
    if how == "nothing":
        return []
    return rows


def standing(root, weights, cache):
    """Make an environment that holds the stand-in, and its weights.

    Args:
        root: Folder of the environment.
        weights: Files that each dimension needs.
        cache: Folder of weights; made with a small file for each.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = root / "lib" / version / "site-packages"
    (site / "vbench" / "cli").mkdir(parents=True)
    (site / "vbench-0.1.5.dist-info").mkdir()
    (site / "torch.py").write_text("device = str\n")
    text = Path(__file__).read_text(encoding="utf-8")
    text += f"\n\nVBench.weights = {dict(weights)!r}\n"
    (site / "vbench" / "__init__.py").write_text(text, encoding="utf-8")
    (site / "vbench2_beta_i2v.py").write_text(I2V, encoding="utf-8")
    (site / "vbench" / "cli" / "static_filter.py").write_text(FILTER, encoding="utf-8")
    (root / "bin").mkdir()
    python = root / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH="{site}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (root / "rcm_bench.json").write_text(json.dumps({"faults": {}}))
    for needed in {name for names in weights.values() for name in names}:
        path = cache / needed
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(needed.encode())
    return root


I2V = """
import os
from vbench import VBench


class VBenchI2V(VBench):
    def evaluate(self, videos_path, name, dimension_list=None, local=False, read_frame=False,
                 custom_prompt=False, resolution="1-1", **kwargs):
        folder = f"vbench2_beta_i2v/data/crop/{resolution}"
        assert os.listdir(folder), "the package looks for the images below the working folder"
        super().evaluate(videos_path, name, dimension_list=dimension_list, local=local, **kwargs)
"""

FILTER = """
import glob
import json
import os
import re
import shutil

DEVICE = "cuda"


def static_filter(args):
    found = {}
    for path in sorted(glob.glob(os.path.join(args.videos_path, "*.mp4"))):
        prompt = re.sub(r"-\\d+$", "", os.path.basename(path)[:-4])
        entry = found.setdefault(prompt, {"static_count": 0, "static_path": []})
        if entry["static_count"] < 5 and b"static" in open(path, "rb").read():
            entry["static_count"] += 1
            entry["static_path"].append(path)
    os.makedirs(os.path.join(args.result_path, "filtered_videos"))
    with open(os.path.join(args.result_path, args.store_name), "w") as file:
        json.dump(found, file)
    for prompt, entry in found.items():
        for i, path in enumerate(entry["static_path"]):
            target = os.path.join(args.result_path, "filtered_videos", f"{prompt}-{i}.mp4")
            shutil.copy(path, target)


def register_subparsers(subparser):
    parser = subparser.add_parser("static_filter")
    parser.add_argument("--videos_path", default="", required=True)
    parser.add_argument("--result_path", type=str, default="./filter_results")
    parser.add_argument("--store_name", type=str, default="filtered_static_video.json")
    parser.add_argument("--filter_scope", default="temporal_flickering")
    parser.set_defaults(func=static_filter)
"""
