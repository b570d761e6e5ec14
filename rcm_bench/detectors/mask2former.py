"""Mask2Former as GenEval's official detector runs it, on transformers' network.

Size, padding and what becomes of the logits are mmdetection 2.x's (test pipeline and
``MaskFormerFusionHead.instance_postprocess`` of its Mask2Former configuration), not transformers'
own, which resizes to 384 pixels, pads after normalising and lets masks paint over each other.

Legend: B images, Q queries, C classes, K detections, (H, W) size of the image.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rcm_bench.detectors.opencv_resize import resize
from rcm_bench.geneval_prompts import NAMES
from rcm_bench.geneval_rules import THRESHOLD
from rcm_bench.types import Detection

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 8
LONG_SIDE, SHORT_SIDE = 1333, 800
DIVISOR = 32
PADDING = 128.0
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
PAIRS = 100
"""The (query, class) pairs with the highest class scores that are looked at in each image."""
MASK_CHUNK = 32
"""Masks made at full size at a time: 32 of 1024x1024 take 128 MiB."""
_QUALITY_EPS = 1e-6
# A mask's quality is a mean of sigmoids and exceeds 1 by rounding only.
_ROUNDING = 1e-3


class Sizes(NamedTuple):
    """Heights and widths that an image goes through.

    Attributes:
        original: Of the image.
        resized: Of the network's picture of it.
        padded: The same with padding to the right and below.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]


class Found(NamedTuple):
    """Detections of a batch as tensors on the device.

    Attributes:
        image: Index of the image, (K,).
        label: Class, (K,).
        score: Class score times mask quality, (K,), float32.
        box: Tight boxes (x0, y0, x1, y1), exclusive, (K, 4).
        mask: Masks at the image's size by place in the list, where they were asked for.
    """

    image: "Tensor"
    label: "Tensor"
    score: "Tensor"
    box: "Tensor"
    mask: "dict[int, NDArray[np.bool_]]"


def sizes_of(height: int, width: int) -> Sizes:
    """Return the sizes of an image: as large as fits 1333x800 either way round, then padded."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    resized = (int(height * scale + 0.5), int(width * scale + 0.5))
    padded = tuple(-(-side // DIVISOR) * DIVISOR for side in resized)
    return Sizes(original=(height, width), resized=resized, padded=(padded[0], padded[1]))


def preprocess(images: "Tensor", sizes: Sizes) -> "Tensor":
    """Resize as OpenCV does, pad with grey 128, then normalise.

    Args:
        images: (B, H, W, 3), uint8.
        sizes: Their sizes.

    Returns:
        (B, 3, h, w), float32.
    """
    from torch.nn.functional import pad

    x = resize(images, *sizes.resized).permute(0, 3, 1, 2).float()
    below = sizes.padded[0] - sizes.resized[0]
    right = sizes.padded[1] - sizes.resized[1]
    x = pad(x, (0, right, 0, below), value=PADDING)
    mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def postprocess(
    class_logits: "Tensor",
    mask_logits: "Tensor",
    sizes: Sizes,
    *,
    threshold: float = THRESHOLD,
    masks: Sequence[Collection[str]] | None = None,
) -> Found:
    """Turn logits into detections above a threshold.

    Of the Q x C pairs of an image the 100 with the highest softmax scores stay, whatever their
    query: one query may be found as several classes. A pair's score is its class score times the
    mean sigmoid of its mask inside the mask. That mean is at most 1, so that masks need to be made
    only for pairs whose class score exceeds the threshold: the result is the same.

    Args:
        class_logits: (B, Q, C + 1); the last class is nothing.
        mask_logits: (B, Q, h, w).
        sizes: The images' sizes.
        threshold: What a score must exceed.
        masks: Names of the classes whose masks are wanted, for each image; all by default.
    """
    import torch

    scores = class_logits.softmax(-1)[..., :-1]
    num_classes = scores.shape[-1]
    best = scores.flatten(1).topk(min(PAIRS, scores[0].numel()), dim=1)
    image, place = (best.values > threshold * (1 - _ROUNDING)).nonzero(as_tuple=True)
    pair = best.indices[image, place]
    query, label = pair // num_classes, pair % num_classes
    made = image * class_logits.shape[1] + query
    unique, which = torch.unique(made, return_inverse=True)
    quality, box, keep = _measured(mask_logits.flatten(0, 1), unique, sizes)
    score = best.values[image, place] * quality[which]
    good = score > threshold
    image, label, score, which = image[good], label[good], score[good], which[good]
    wanted = _wanted(image.tolist(), label.tolist(), masks)
    return Found(image, label, score, box[which], _copied(keep, which.tolist(), wanted))


def _wanted(
    images: list[int], labels: list[int], masks: Sequence[Collection[str]] | None
) -> list[int]:
    pairs = enumerate(zip(images, labels, strict=True))
    return [k for k, (image, label) in pairs if masks is None or NAMES[label] in masks[image]]


def _measured(logits: "Tensor", chosen: "Tensor", sizes: Sizes) -> "tuple[Tensor, Tensor, Any]":
    """Return quality (K,), boxes (K, 4) of some masks, and what makes a mask again."""
    import torch

    qualities, boxes = [logits.new_zeros(0)], [logits.new_zeros(0, 4)]
    for part in torch.split(chosen, MASK_CHUNK):
        full = full_size(logits[part], sizes)
        inside = full > 0
        count = inside.flatten(1).sum(1, dtype=torch.float32)
        total = (full.sigmoid() * inside).flatten(1).sum(1)
        qualities.append(total / (count + _QUALITY_EPS))
        boxes.append(tight_boxes(inside))

    def again(which: list[int]) -> "Tensor":
        return full_size(logits[chosen[which]], sizes) > 0

    return torch.cat(qualities), torch.cat(boxes), again


def _copied(again: Any, which: list[int], wanted: list[int]) -> "dict[int, NDArray[np.bool_]]":
    """Make the wanted masks again and bring them to the CPU; keeping all would cost gigabytes."""
    found: dict[int, NDArray[np.bool_]] = {}
    for start in range(0, len(wanted), MASK_CHUNK):
        part = wanted[start : start + MASK_CHUNK]
        made = again([which[k] for k in part]).cpu().numpy()
        found.update(zip(part, made, strict=True))
    return found


def full_size(logits: "Tensor", sizes: Sizes) -> "Tensor":
    """Bring mask logits (K, h, w) to (K, H, W): to the padded size, cropped, then to the image's.

    Bilinear both times, corners not aligned; the order is mmdetection's and changes the result.
    """
    from torch.nn.functional import interpolate

    def to(x: "Tensor", size: tuple[int, int]) -> "Tensor":
        return interpolate(x, size=size, mode="bilinear", align_corners=False)

    x = to(logits[:, None], sizes.padded)[..., : sizes.resized[0], : sizes.resized[1]]
    return to(x, sizes.original)[:, 0]


def tight_boxes(masks: "Tensor") -> "Tensor":
    """Return boxes (x0, y0, x1, y1), the last two exclusive; zeros for an empty mask.

    Args:
        masks: (K, H, W), bool.

    Returns:
        (K, 4), float32.
    """
    import torch

    ends = []
    for axis in (1, 2):  # columns, then rows
        there = masks.any(axis)
        first = there.to(torch.uint8).argmax(1)
        last = there.shape[1] - there.flip(1).to(torch.uint8).argmax(1)
        ends.append((first, last))
    (x0, x1), (y0, y1) = ends
    box = torch.stack([x0, y0, x1, y1], 1).float()
    return torch.where(masks.flatten(1).any(1)[:, None], box, torch.zeros_like(box))


class Mask2Former:
    """Finds COCO's 80 classes in images of equal size.

    Args:
        model: A ``Mask2FormerForUniversalSegmentation`` in evaluation mode.
        device: Where it runs.
        batch: Images at a time.
    """

    def __init__(self, model: Any, device: str, batch: int = BATCH) -> None:
        self.model = model.to(device)
        self.device = device
        self.batch = batch

    def __call__(
        self,
        images: "NDArray[np.uint8]",
        masks: Sequence[Collection[str]] | None = None,
        threshold: float = THRESHOLD,
    ) -> list[list[Detection]]:
        """Return the detections of each image above a threshold, boxes and scores in float32.

        Args:
            images: (B, H, W, 3).
            masks: Names of the classes whose masks are wanted, for each image; all by default.
            threshold: What a score must exceed.
        """
        found: list[list[Detection]] = []
        for start in range(0, len(images), self.batch):
            part = slice(start, start + self.batch)
            wanted = None if masks is None else masks[part]
            found += self._detect(images[part], wanted, threshold)
        return found

    def _detect(
        self,
        images: "NDArray[np.uint8]",
        masks: Sequence[Collection[str]] | None,
        threshold: float,
    ) -> list[list[Detection]]:
        import torch

        sizes = sizes_of(*images.shape[1:3])
        with torch.inference_mode(), full_float32():
            x = preprocess(torch.from_numpy(images).to(self.device), sizes)
            out = self.model(pixel_values=x)
            logits = (out.class_queries_logits, out.masks_queries_logits)
            result = postprocess(*logits, sizes, threshold=threshold, masks=masks)
            columns = [c.cpu().numpy() for c in result[:4]]
        found: list[list[Detection]] = [[] for _ in images]
        for k, (image, label, score, box) in enumerate(zip(*columns, strict=True)):
            mask = result.mask.get(k)
            found[image].append(Detection(NAMES[label], score, tuple(box), mask))
        return found


@contextmanager
def full_float32() -> "Iterator[None]":
    """Forbid TF32 while the detector runs: its low precision moves confidences."""
    import torch

    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = False
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value
