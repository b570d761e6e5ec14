"""Images are read whole and upright, or refused by name."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from rcm_bench.geneval_images import ImageError, read_ahead, read_image


def png(array, mode=None, **extra):
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, format="PNG", **extra)
    return buffer.getvalue()


@pytest.fixture
def picture():
    return np.random.default_rng().integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_pixels_come_back(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(png(picture))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_grey_and_transparent_images_become_rgb(tmp_path, picture):
    (tmp_path / "grey.png").write_bytes(png(picture[..., 0]))
    grey = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(grey, np.repeat(picture[..., :1], 3, axis=2))
    alpha = np.concatenate([picture, picture[..., :1]], axis=2)
    (tmp_path / "alpha.png").write_bytes(png(alpha))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), picture)


def test_a_turned_image_is_set_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (tmp_path / "a.png").write_bytes(png(picture, exif=exif))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture, -1))


def test_faults_name_the_file(tmp_path, picture):
    whole = png(picture)
    deep = np.zeros((48, 64), dtype=np.uint16)
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, format="JPEG")
    cases = {
        "empty": (b"", "empty.png: the file is empty"),
        "cut": (whole[: len(whole) // 2], "cut.png: not a whole PNG image"),
        "text": (b"hello", "text.png: not a whole PNG image"),
        "jpeg": (jpeg.getvalue(), "jpeg.png: not a whole PNG image"),
        "tiny": (png(picture[:31]), "tiny.png: expected 32 to 8192 pixels a side.*, got 64x31"),
        "long": (png(np.zeros((33, 300, 3), np.uint8)), "long.png: expected .* got 300x33"),
        "deep": (png(deep), "deep.png: expected 8 bits a channel, got mode I;16"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / f"{name}.png").write_bytes(data)
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / f"{name}.png")
    with pytest.raises(ImageError, match=r"gone.png: cannot be read \(No such file"):
        read_image(tmp_path / "gone.png")


def test_a_flipped_byte_is_seen(tmp_path, picture):
    """PNG has check sums; pixels that are not those written are never judged."""
    data = bytearray(png(picture))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"a.png: not a whole PNG image"):
        read_image(tmp_path / "a.png")


def test_reading_ahead_keeps_the_order(tmp_path):
    paths = []
    for k in range(20):
        paths.append(tmp_path / f"{k}.png")
        paths[-1].write_bytes(png(np.full((40, 40, 3), k, np.uint8)) if k != 7 else b"no")
    with ThreadPoolExecutor(4) as pool:
        found = list(read_ahead(paths, pool))
    assert [type(f) is ImageError for f in found] == [k == 7 for k in range(20)]
    assert [int(f[0, 0, 0]) for k, f in enumerate(found) if k != 7] == [
        k for k in range(20) if k != 7
    ]
