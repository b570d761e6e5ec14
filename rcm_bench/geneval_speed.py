"""How long one GenEval pass takes on this machine, models at their real size with random weights.

    python -m rcm_bench.geneval_speed --out speed.json

Images are rendered, written as PNG and read back from disk by the scorer that a run uses, 64 at a
time. Random weights find nothing, which would be quick: after the real network has run, its
logits are changed so that a hundred objects are found in every image, all 80 classes among them.
So every mask is made, every colour that a prompt asks for is named, and no real pass takes longer.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rcm_bench.detectors.settings import Mask2FormerSettings
from rcm_bench.environment import device_name, installed, pick_device
from rcm_bench.geneval_images import read_image
from rcm_bench.geneval_prompts import NAMES, SAMPLES_PER_PROMPT, official_metadata
from rcm_bench.geneval_rules import coloured, judge
from rcm_bench.scorers.geneval import Models, Scorer
from rcm_bench.types import Detection, SampleRef

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 1024
CHUNK = 64
DISTINCT = 32
"""Different pictures that are rendered; all files are copies of them."""
PARTS = 128
"""Images that the parts are timed on, each part alone."""
LIMIT_SECONDS = 180.0
_FOUND = 6.0
_UNTRAINED = Mask2FormerSettings(
    kind="mask2former", weights="random", layout="mmdet", sha256="0" * 64
)


def found_everywhere(model: Any) -> Any:
    """Wrap a Mask2Former so that every query finds something in half of every image.

    Query q finds class q mod 80, and each mask's logits are moved to a mean of zero.
    """
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            out = self.model(pixel_values=pixel_values)
            logits, masks = out.class_queries_logits, out.masks_queries_logits
            query = torch.arange(logits.shape[1], device=logits.device)
            logits = torch.zeros_like(logits)
            logits[:, query, query % len(NAMES)] = 2 * _FOUND
            out.class_queries_logits = logits
            out.masks_queries_logits = masks - masks.mean((2, 3), keepdim=True)
            return out

    return Wrapped().eval()


def random_models(device: str) -> Models:
    """Return detector and CLIP at their real size with random weights."""
    import torch
    from transformers import Mask2FormerForUniversalSegmentation

    from rcm_bench.detectors.mask2former import Mask2Former
    from rcm_bench.detectors.mask2former_weights import official_config
    from rcm_bench.geneval_colours import MODEL, Colours, _open_clip

    torch.manual_seed(0)
    network: Any = Mask2FormerForUniversalSegmentation(official_config())
    network.set_attn_implementation("eager")
    open_clip = _open_clip()
    clip, _, transform = open_clip.create_model_and_transforms(MODEL, pretrained=None)
    colours = Colours(clip.eval(), transform, open_clip.get_tokenizer(MODEL), device)
    return Models(Mask2Former(found_everywhere(network.eval()), device), colours, 0.0)


def write_images(folder: Path, number: int, side: int = SIDE) -> list[Path]:
    """Render pictures with the grain of photographs, and write them as PNG as a run does."""
    from rcm_bench.media import encode
    from rcm_bench.types import Media

    rng = np.random.default_rng(0)
    made = [encode(Media(array=_picture(rng, side), nfe=0)) for _ in range(min(number, DISTINCT))]
    paths = []
    for k in range(number):
        paths.append(folder / f"{k:05d}.png")
        paths[-1].write_bytes(made[k % len(made)])
    return paths


def _picture(rng: np.random.Generator, side: int) -> "NDArray[np.uint8]":
    y, x = np.mgrid[0:side, 0:side] / side
    image = np.stack([128 + 90 * np.sin(rng.uniform(2, 9) * (x + k * y)) for k in range(3)], -1)
    for _ in range(12):
        cy, cx, radius = rng.uniform(0, 1, 3)
        image[(y - cy) ** 2 + (x - cx) ** 2 < (0.3 * radius) ** 2] = rng.uniform(0, 255, 3)
    grain = rng.normal(0, 4, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def references(paths: Sequence[Path]) -> list[SampleRef]:
    """Return the images as samples of the official prompts, four of each."""
    records = official_metadata()
    return [
        SampleRef(
            sample_key=str(k),
            item_id=str(k),
            digest=str(k),
            path=path,
            prompt=records[k // SAMPLES_PER_PROMPT % len(records)]["prompt"],
            task=records[k // SAMPLES_PER_PROMPT % len(records)]["tag"],
            metadata=records[k // SAMPLES_PER_PROMPT % len(records)],
        )
        for k, path in enumerate(paths)
    ]


def whole_pass(samples: Sequence[SampleRef], models: Models) -> dict[str, Any]:
    """Time the scorer over all samples, after one chunk that warms up.

    Returns:
        Seconds, and what was scored, so that nothing can be fast by doing nothing.
    """
    scorer = Scorer(detector=_UNTRAINED)
    begun = time.perf_counter()
    list(scorer.scored(samples[:CHUNK], models))
    warm = time.perf_counter()
    scores = []
    for start in range(0, len(samples), CHUNK):
        scores += list(scorer.scored(samples[start : start + CHUNK], models))
    seconds = time.perf_counter() - warm
    boxes = [sum(map(len, score.details["boxes"].values())) for score in scores]
    named = [len(n) for score in scores for n in score.details.get("colours", {}).values()]
    return {
        "images": len(scores),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(scores) / seconds, 2),
        "warm_up_seconds": round(warm - begun, 2),
        "scored": sum(score.value is not None for score in scores),
        "objects_per_image": round(sum(boxes) / len(boxes), 1),
        "colours_named": sum(named),
    }


def _wanted_masks(sample: SampleRef) -> set[str]:
    return {clause["class"] for clause in sample.metadata["include"] if "color" in clause}


class _Clock:
    """Adds up the time of parts, the device waited for, in milliseconds per image."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.found: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work and add its time to a part's."""
        _wait()
        begun = time.perf_counter()
        result = work()
        _wait()
        spent = 1000 * (time.perf_counter() - begun) / self.images
        self.found[name] = round(self.found.get(name, 0.0) + spent, 3)
        return result


def parts(samples: Sequence[SampleRef], models: Models) -> dict[str, float]:
    """Time each part alone, in milliseconds per image; they do not add up.

    In the whole pass reading and cropping run on threads beside the device.
    """
    timed = _Clock(len(samples))
    images = timed("read_one_thread", lambda: [read_image(s.path) for s in samples])
    detector, colours = models.detector, models.colours
    asked: list[tuple[NDArray[np.uint8], Detection]] = []
    pairs: list[tuple[SampleRef, list[Detection]]] = []
    for start in range(0, len(images), detector.batch):
        some = samples[start : start + detector.batch]
        batch = np.stack(images[start : start + detector.batch])
        _detector_parts(batch, models, timed)
        wanted = [_wanted_masks(sample) for sample in some]
        found = timed("detector_whole", partial(detector, batch, wanted))
        for sample, image, objects in zip(some, batch, found, strict=True):
            pairs.append((sample, objects))
            named = coloured(objects, sample.metadata)
            asked += [(image, one) for _, each in named for one in each]
    crops = timed("crops_one_thread", lambda: [colours.prepare(*pair) for pair in asked])
    timed("clip", lambda: colours(crops))
    timed("rules", lambda: [judge(objects, s.metadata, _all_red) for s, objects in pairs])
    return timed.found


def _detector_parts(batch: "NDArray[np.uint8]", models: Models, timed: _Clock) -> None:
    """Time what the detector does with a batch, step by step, without bringing masks back."""
    import torch

    from rcm_bench.detectors.mask2former import full_float32, postprocess, preprocess, sizes_of

    detector, sizes = models.detector, sizes_of(*batch.shape[1:3])
    nothing: list[tuple[str, ...]] = [()] * len(batch)
    with torch.inference_mode(), full_float32():
        x = timed("to_device", partial(torch.from_numpy(batch).to, detector.device))
        x = timed("preprocess", partial(preprocess, x, sizes))
        out = timed("network", partial(detector.model, pixel_values=x))
        logits = (out.class_queries_logits, out.masks_queries_logits)
        timed("postprocess", partial(postprocess, *logits, sizes, masks=nothing))


def _all_red(some: Sequence[Detection]) -> list[str]:
    return ["red"] * len(some)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(models: Models, number: int, side: int, device: str) -> dict[str, Any]:
    """Measure a pass and its parts.

    Args:
        models: What finds and names.
        number: Images in all.
        side: Pixels of their sides.
        device: Where the models are.
    """
    import torch

    if number > SAMPLES_PER_PROMPT * len(official_metadata()):
        raise ValueError(f"a pass has 2212 images, got {number}")
    with tempfile.TemporaryDirectory() as folder:
        samples = references(write_images(Path(folder), number, side))
        spread = samples[:: max(1, len(samples) // PARTS)][:PARTS]
        whole = whole_pass(samples, models)
        alone = parts(spread, models)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    packages = ("torch", "transformers", "open_clip_torch", "numpy", "pillow")
    return {
        "whole_pass": whole,
        "limit_seconds": LIMIT_SECONDS,
        "parts_ms_per_image": alone,
        "parts_measured_on": len(spread),
        "side": side,
        "detector_batch": models.detector.batch,
        "peak_bytes": peak,
        "device": device_name(device),
        "versions": {name: installed(name) for name in packages},
        "weights": "random; 100 objects found in every image",
    }


def main() -> None:
    """Measure on this machine, print JSON, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2212, help="images in all")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of their sides")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    given = parser.parse_args()
    device = pick_device()
    text = json.dumps(measure(random_models(device), given.images, given.side, device), indent=1)
    print(text)
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
