"""The detector around its network, against loops over pixels written from the protocol."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_mask2former import busy_model

from rcm_bench.detectors.mask2former import (
    Mask2Former,
    full_float32,
    full_size,
    postprocess,
    preprocess,
    sizes_of,
    tight_boxes,
)
from rcm_bench.detectors.opencv_resize import resize
from rcm_bench.geneval_prompts import NAMES


@pytest.fixture(scope="module")
def model():
    return busy_model()


@pytest.fixture
def small(monkeypatch):
    """Let the network see 200x160 pixels at most, for the time it takes."""
    monkeypatch.setattr("rcm_bench.detectors.mask2former.LONG_SIDE", 200)
    monkeypatch.setattr("rcm_bench.detectors.mask2former.SHORT_SIDE", 160)


@pytest.mark.parametrize(
    ("size", "resized", "padded"),
    [
        ((1024, 1024), (800, 800), (800, 800)),
        ((768, 1360), (753, 1333), (768, 1344)),
        ((1360, 768), (1333, 753), (1344, 768)),
        ((512, 512), (800, 800), (800, 800)),
        ((64, 96), (800, 1200), (800, 1216)),
        ((704, 1280), (733, 1333), (736, 1344)),
    ],
)
def test_sizes_worked_out_by_hand(size, resized, padded):
    assert sizes_of(*size) == (size, resized, padded)


@given(st.integers(32, 2000), st.integers(32, 2000))
def test_sizes_fit_and_keep_the_ratio(height, width):
    sizes = sizes_of(height, width)
    h, w = sizes.resized
    assert max(h, w) <= 1333 and min(h, w) <= 800
    assert max(h, w) == 1333 or min(h, w) == 800
    assert abs(h / height - w / width) < 1 / min(height, width)
    for padded, resized in zip(sizes.padded, sizes.resized, strict=True):
        assert padded % 32 == 0 and 0 <= padded - resized < 32


def bilinear(image, height, width):
    """Bilinear without antialiasing, corners not aligned, pixel by pixel in float64."""
    there = np.zeros((height, width))

    def at(k, new, old):
        x = max((k + 0.5) * old / new - 0.5, 0)
        low = min(int(x), old - 1)
        return low, min(low + 1, old - 1), x - low

    for i in range(height):
        y0, y1, v = at(i, height, image.shape[0])
        for j in range(width):
            x0, x1, u = at(j, width, image.shape[1])
            top = (1 - u) * image[y0, x0] + u * image[y0, x1]
            bottom = (1 - u) * image[y1, x0] + u * image[y1, x1]
            there[i, j] = (1 - v) * top + v * bottom
    return there


def test_preprocessing_pixel_by_pixel(monkeypatch):
    """Resized, padded with 128 to the right and below, and only then normalised."""
    monkeypatch.setattr("rcm_bench.detectors.mask2former.LONG_SIDE", 60)
    monkeypatch.setattr("rcm_bench.detectors.mask2former.SHORT_SIDE", 40)
    image = np.random.default_rng().integers(0, 256, (2, 23, 31, 3), dtype=np.uint8)
    sizes = sizes_of(23, 31)
    assert sizes == ((23, 31), (40, 54), (64, 64))
    made = preprocess(torch.from_numpy(image), sizes)
    assert made.shape == (2, 3, 64, 64)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    for c in range(3):
        grey = (128 - mean[c]) / std[c]
        assert torch.allclose(made[:, c, 40:], torch.tensor(grey))
        assert torch.allclose(made[:, c, :, 54:], torch.tensor(grey))
        levels = made[1, c, :40, :54].double().numpy() * std[c] + mean[c]
        slow = opencv_levels(image[1, :, :, c].tolist(), 40, 54)
        np.testing.assert_allclose(levels, slow, atol=1e-3)


def opencv_levels(image, height, width):
    """OpenCV's bilinear resize of 8-bit levels in whole numbers, pixel by pixel."""

    def place(k, new, old):
        x = np.float32((k + 0.5) * (old / new) - 0.5)
        low = math.floor(x)
        return low, x - np.float32(low)

    def weights(part):
        return round(float((1 - part) * np.float32(2048))), round(float(part * np.float32(2048)))

    old_height, old_width = len(image), len(image[0])
    made = np.zeros((height, width), int)
    for i in range(height):
        y, part = place(i, height, old_height)
        rows = [image[min(max(y + k, 0), old_height - 1)] for k in (0, 1)]
        b0, b1 = weights(part)
        for j in range(width):
            x, part = place(j, width, old_width)
            if not 0 <= x < old_width - 1:
                x, part = min(max(x, 0), old_width - 1), np.float32(0)
            a0, a1 = weights(part)
            right = min(x + 1, old_width - 1)
            top, bottom = ((row[x] * a0 + row[right] * a1) >> 4 for row in rows)
            made[i, j] = (((b0 * top) >> 16) + ((b1 * bottom) >> 16) + 2) >> 2
    return made


def test_resizing_gives_opencvs_levels():
    """Written down from cv2 5.0.0 and 4.8.1: cv2.resize(image, (6, 5), INTER_LINEAR)."""
    image = [[168, 171, 20, 153], [37, 206, 6, 96], [118, 161, 42, 16]]
    opencv = [
        [168, 169, 146, 45, 86, 153], [116, 150, 157, 43, 72, 130], [37, 122, 173, 39, 51, 96],
        [86, 132, 154, 53, 38, 48], [118, 139, 141, 62, 29, 16],
    ]  # fmt: skip
    pixels = torch.tensor(image, dtype=torch.uint8)[None, :, :, None].expand(1, 3, 4, 3)
    assert resize(pixels, 5, 6)[0, :, :, 0].tolist() == opencv
    rounded = np.round(bilinear(np.array(image, float), 5, 6)).astype(int).tolist()
    assert rounded != opencv, "rounding would do; the test is too easy"


def test_halving_takes_the_mean_of_four():
    pixels = torch.tensor([[0, 1, 9, 9], [0, 1, 8, 8]], dtype=torch.uint8)[None, :, :, None]
    halved = resize(pixels.expand(1, 2, 4, 3), 1, 2)
    assert halved[0, 0, :, 2].tolist() == [1, 9]  # 2/4 and 34/4, halves upwards


@pytest.mark.parametrize("size", [(1024, 1024), (768, 1360), (1600, 1600), (97, 211)])
def test_resizing_is_opencvs(size):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng().integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = sizes_of(*size).resized
    there = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    here = resize(torch.from_numpy(image)[None], height, width)[0].numpy()
    np.testing.assert_array_equal(here, there)


def slow_detections(class_logits, mask_logits, sizes, threshold):
    """One image, by loops: every pair, every mask at full size, every pixel."""
    num_queries, classes = class_logits.shape
    pairs = []
    for q in range(num_queries):
        row = [math.exp(v - max(class_logits[q])) for v in class_logits[q]]
        pairs += [(row[c] / sum(row), q, c) for c in range(classes - 1)]
    found = []
    for score, q, c in sorted(pairs, reverse=True)[:100]:
        padded = bilinear(mask_logits[q], *sizes.padded)
        full = bilinear(padded[: sizes.resized[0], : sizes.resized[1]], *sizes.original)
        inside = [(i, j) for i in range(full.shape[0]) for j in range(full.shape[1])
                  if full[i, j] > 0]  # fmt: skip
        total = sum(1 / (1 + math.exp(-full[i, j])) for i, j in inside)
        score *= total / (len(inside) + 1e-6)
        box = (0, 0, 0, 0)
        if inside:
            rows, columns = zip(*inside, strict=True)
            box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        if score > threshold:
            found.append((NAMES[c], score, box, full > 0))
    return found


def sharp_logits(rng, num_queries=14, high=9.0):
    """Logits of which some pairs pass 0.3, several of them with one query; some masks are empty."""
    classes = rng.normal(0, 1.5, (num_queries, 81))
    for q in range(0, num_queries, 2):
        classes[q, rng.choice(80, size=rng.integers(1, 4), replace=False)] = high
    masks = rng.normal(0.4, 2, (num_queries, 7, 9))
    masks[4] = -1.0
    return classes, masks


def test_postprocessing_pair_by_pair():
    rng = np.random.default_rng()
    sizes = sizes_of(20, 27)._replace(resized=(24, 32), padded=(32, 32))
    several = 0
    for _ in range(3):
        classes, masks = sharp_logits(rng)
        slow = slow_detections(classes, masks, sizes, 0.25)
        found = postprocess(
            torch.from_numpy(classes)[None], torch.from_numpy(masks)[None], sizes, threshold=0.25
        )
        columns = (found.label, found.score, found.box)
        mine = [
            (NAMES[label], score, tuple(box), k)
            for k, (label, score, box) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ]
        mine.sort(key=lambda d: d[:2])
        slow.sort(key=lambda d: d[:2])
        assert [d[0] for d in mine] == [d[0] for d in slow]
        np.testing.assert_allclose([d[1] for d in mine], [d[1] for d in slow], rtol=1e-6)
        assert [d[2] for d in mine] == [d[2] for d in slow]
        for one, other in zip(mine, slow, strict=True):
            np.testing.assert_array_equal(found.mask[one[3]], other[3])
        several += len(slow) - len({d[2] for d in slow})
    assert several > 0, "no query was found as two classes; the test is too easy"


def test_only_a_hundred_pairs_are_looked_at():
    """A pair beyond the hundredth does not count, however sure it is."""
    classes = torch.full((1, 60, 81), -9.0)
    classes[0, :, :2] = 5.0  # 120 pairs of almost 1/2
    classes[0, 59, 0] = 4.9
    found = postprocess(classes, torch.full((1, 60, 4, 4), 9.0), sizes_of(40, 40))
    assert len(found.label) == 100


def test_a_score_is_the_class_score_times_the_mean_of_the_mask():
    """softmax(ln 3, 0, -large) = 3/4; every mask pixel has sigmoid 0.8; 3/4 x 0.8 = 0.6."""
    classes = torch.full((1, 1, 81), -60.0)
    classes[0, 0, 5], classes[0, 0, 80] = math.log(3), 0.0
    masks = torch.full((1, 1, 8, 8), math.log(4))
    found = postprocess(classes, masks, sizes_of(64, 64))
    assert found.score.tolist() == pytest.approx([0.6], rel=1e-5)
    assert found.box.tolist() == [[0, 0, 64, 64]] and NAMES[int(found.label[0])] == "bus"


def test_boxes_end_one_after_the_last_pixel():
    mask = torch.zeros(3, 12, 20, dtype=torch.bool)
    mask[0, 3, 4] = True
    mask[1, 2:7, 5:20] = True
    assert tight_boxes(mask).tolist() == [[4, 3, 5, 4], [5, 2, 20, 7], [0, 0, 0, 0]]


def test_masks_are_cropped_before_they_are_resized():
    """What the network says of the padding must not bleed into the picture."""
    sizes = sizes_of(16, 16)._replace(resized=(24, 24), padded=(32, 32))
    logits = torch.full((1, 8, 8), -5.0)
    logits[0, :6, :6] = 5.0
    full = full_size(logits, sizes)
    assert full.shape == (1, 16, 16) and bool((full[0, :15, :15] > 0).all())
    assert float(full[0, 15, 15]) == pytest.approx(
        float(bilinear(bilinear(logits[0].numpy(), 32, 32)[:24, :24], 16, 16)[15, 15]), abs=1e-5
    )


def test_a_batch_is_as_its_images_alone(model, small):
    """Boxes, classes, and scores up to rounding; masks only where they are asked for."""
    images = np.random.default_rng().integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    together = Mask2Former(model, "cpu", batch=3)(images)
    assert sum(map(len, together)) > 5, "nothing found; the test is too easy"
    for image, found in zip(images, together, strict=True):
        (alone,) = Mask2Former(model, "cpu")(image[None])
        assert [d.name for d in alone] == [d.name for d in found]
        np.testing.assert_allclose([d.box for d in alone], [d.box for d in found], atol=1)
        np.testing.assert_allclose([d.score for d in alone], [d.score for d in found], rtol=1e-3)
        for detection in found:
            assert detection.mask is not None and detection.mask.shape == (48, 64)
            assert detection.score.dtype == np.float32 and detection.box[0].dtype == np.float32
    some = next(d.name for found in together for d in found)
    few = Mask2Former(model, "cpu", batch=3)(images, [{some}] * 5)
    for one, other in zip(few, together, strict=True):
        assert [d.mask is not None for d in one] == [d.name == some for d in one]
        assert [d[:3] for d in one] == [d[:3] for d in other]


def test_the_detector_is_its_parts(model, small):
    """Network between preprocessing and postprocessing, nothing else; odd sizes too."""
    images = np.random.default_rng().integers(0, 256, (2, 41, 57, 3), dtype=np.uint8)
    sizes = sizes_of(41, 57)
    with torch.inference_mode():
        out = model(pixel_values=preprocess(torch.from_numpy(images), sizes))
    found = postprocess(out.class_queries_logits, out.masks_queries_logits, sizes)
    detections = [d for each in Mask2Former(model, "cpu")(images) for d in each]
    assert len(detections) == len(found.score) > 0
    assert [d.score for d in detections] == found.score.tolist()


def test_tf32_is_off_inside_and_as_before_outside():
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    for value in (True, False):
        for place in places:
            place.allow_tf32 = value
        with pytest.raises(RuntimeError), full_float32():
            assert not any(place.allow_tf32 for place in places)
            raise RuntimeError
        assert [place.allow_tf32 for place in places] == [value, value]
    torch.backends.cudnn.allow_tf32 = True


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.1, 0.6))
def test_leaving_out_what_cannot_count_changes_nothing(seed, threshold):
    """Masks are made only above the threshold; all masks made and cut afterwards give the same."""
    classes, masks = (torch.from_numpy(x)[None].float() for x in
                      sharp_logits(np.random.default_rng(seed), high=4.0))  # fmt: skip
    sizes = sizes_of(20, 27)._replace(resized=(24, 32), padded=(32, 32))
    few = postprocess(classes, masks, sizes, threshold=threshold)
    everything = postprocess(classes, masks, sizes, threshold=-1.0)
    kept = everything.score > threshold
    for name in ("label", "score", "box"):
        assert torch.equal(getattr(few, name), getattr(everything, name)[kept])
