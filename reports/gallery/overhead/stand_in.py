"""The harness at real size on a CPU, with a network that costs nothing: two checkouts in turns.

    python reports/gallery/overhead/stand_in.py OUT.json BEFORE AFTER

Three samples of 832x480x81 go through sampling, encoder and store of each checkout (folders). The
network and the GPU are stood in for by a thread that computes for 1 ms and waits for 2 ms, over and
over, as one that hands a GPU its work: what it takes longer than alone is how far it is held up.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np

SHAPE = 81, 480, 832, 3
SAMPLES, ROUNDS, PIECES = 3, 5, 400


def noise():
    """Return what random weights give, nearly: nothing that an encoder could foresee."""
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def smooth():
    """Return moving gradients with the noise of a camera."""
    rng, array = np.random.default_rng(0), np.empty(SHAPE, np.uint8)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]].astype(np.float32)
    for t, frame in enumerate(array):
        waves = (
            np.sin((x + 6 * t) / 37) * np.cos((y - 3 * t) / 53),
            np.cos((y - 4 * t) / 41 + x / 97),
            np.sin((x + y + 2 * t) / 61),
        )
        frame[:] = (127 + 90 * np.stack(waves, -1) + rng.normal(0, 1.5, frame.shape)).clip(0, 255)
    return array


class Network:
    """Makes a sample: computes, waits, and hands over frames that are there."""

    def __init__(self, array):
        self.array = array
        self.made = []

    def generate(self, items):
        """Yield one sample for each item."""
        from rcm_bench.types import Media

        for _ in items:
            for _ in range(PIECES):
                end = time.thread_time() + 0.001
                while time.thread_time() < end:
                    pass
                time.sleep(0.002)
            self.made.append(time.perf_counter())
            yield Media(array=self.array, nfe=1, fps=16.0)


def turn(array):
    """Return what the samples took: alone, by the harness, and what of it was whose work."""
    from rcm_bench.sampling import Work, sample
    from rcm_bench.store import RunStore
    from rcm_bench.types import WorkItem

    alone, network = Network(array), Network(array)
    start = time.perf_counter()
    for _ in range(SAMPLES):
        list(alone.generate([None]))
    seconds = {"alone": alone.made[-1] - start}
    told = dict.fromkeys(("model", "sampler", "prompt_id", "prompt"), "x")
    told |= {"prompt_rewritten": "x", "batch_id": "x"}
    items = [
        WorkItem(item_id=f"{i}", sample_key=f"{i}", steps=1, seed_index=i, seed=i, **told)
        for i in range(SAMPLES)
    ]
    work = [Work(generate=[i], keep=frozenset({i.item_id}), split=False) for i in items]
    plan = SimpleNamespace(suite=SimpleNamespace(run=SimpleNamespace(retries=0, failures="stop")))
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder), {})
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        start, own, thread = time.perf_counter(), time.process_time(), time.thread_time()
        sample(plan, {"x": network}, store, work, device="cpu")
        seconds["whole"] = time.perf_counter() - start
        seconds["made"] = network.made[-1] - start
        seconds["sampling_thread"] = time.thread_time() - thread
        seconds["other_threads"] = time.process_time() - own - seconds["sampling_thread"]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds["encoders"] = sum(after[:2]) - sum(children[:2])
        store.close()
        digests = sorted(path.name for path in Path(folder).glob("blobs/*/*.mp4"))
    return {"seconds": seconds, "files": digests}


def pieces():
    """Return what the sampling thread does beside the networks, where frames are not on the CPU.

    ``meta`` stands in for a GPU: what it does takes nothing here.
    """
    import torch

    from rcm_bench.diffusion import solvers
    from rcm_bench.diffusion.engine import Engine

    model = SimpleNamespace(
        tokens=512,
        family=SimpleNamespace(text_width="text_dim"),
        weights=SimpleNamespace(config={"text_dim": 4096}),
    )
    engine = SimpleNamespace(_cache=None, _model=model, device="meta")
    rngs, shape = [torch.Generator()], (16, 21, 60, 104)

    def noise():
        if hasattr(solvers, "drawn"):
            return solvers.drawn(rngs, shape, "meta")
        return torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to("meta")

    planes = torch.zeros(3, *SHAPE[:3], dtype=torch.uint8)
    return {
        "torch_threads": torch.get_num_threads(),
        "text": timed(lambda: Engine._texts(engine, ["a cat"], torch.bfloat16)),
        "noise": timed(noise),
        "ordering_frames_as_before": timed(lambda: planes.permute(1, 2, 3, 0).contiguous()),
    }


def timed(work):
    """Return median milliseconds of some turns, wall and process, after one that is not counted."""
    took = []
    for _ in range(8):
        start, own = time.perf_counter(), time.process_time()
        work()
        wall = time.perf_counter() - start
        time.sleep(0.2)  # threads that wait for more work compute until they give up
        took.append((1e3 * wall, 1e3 * (time.process_time() - own)))
    return dict(zip(("wall_ms", "work_ms"), np.median(took[1:], axis=0).tolist(), strict=True))


def child(kind):
    """Print one turn of this checkout."""
    if kind == "pieces":
        print(json.dumps(pieces()))
    else:
        print(json.dumps(turn({"noise": noise, "smooth": smooth}[kind]())))


def main(out, *trees):
    """Take turns of both checkouts, and write all that came out."""
    found = {"processors": os.cpu_count(), "frames": SHAPE, "samples_a_turn": SAMPLES, "rounds": []}
    for number in range(ROUNDS):
        rows = {}
        for kind in ("noise", "smooth", "pieces"):
            pairs = list(zip(("before", "after"), trees, strict=True))
            for name, tree in pairs[:: 1 if number % 2 else -1]:
                parts = [str(Path(tree) / part) for part in ("", "distill", "kernels", "reports")]
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join(parts)}
                command = [sys.executable, __file__, kind]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                rows.setdefault(kind, {})[name] = json.loads(done.stdout)
                print(number, kind, name, done.stdout.strip()[:300], file=sys.stderr, flush=True)
        found["rounds"].append(rows)
    found["median"] = medians(found["rounds"])
    Path(out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def medians(rounds):
    """Return the medians of all numbers, and whether files were equal."""

    def middle(values):
        if isinstance(values[0], dict):
            return {key: middle([v[key] for v in values]) for key in values[0]}
        return median(values) if isinstance(values[0], (int, float)) else values[0]

    found = middle(rounds)
    for kind in ("noise", "smooth"):
        files = {str(row["files"]) for each in rounds for row in each[kind].values()}
        found[kind]["files_equal"] = len(files) == 1
    return found


if __name__ == "__main__":
    child(sys.argv[1]) if len(sys.argv) == 2 else main(*sys.argv[1:])
