"""Files that are read side by side: together they take no more than there is room for."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from rcm_bench.bring import files
from rcm_bench.bring.room import Room
from rcm_bench.types import Media
from rcm_bench.video_files import encode_video


def test_room_is_never_taken_twice_and_the_large_go_alone():
    room, lock = Room(100), threading.Lock()
    now, seen = [], []

    def take(num_bytes):
        with room.taken(num_bytes):
            with lock:
                now.append(num_bytes)
                seen.append(list(now))
            threading.Event().wait(0.001)
            with lock:
                now.remove(num_bytes)

    sizes = [random.choice([10, 30, 60, 100, 250]) for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, sizes))
    assert all(sum(held) <= 100 or len(held) == 1 for held in seen) and len(seen) == len(sizes)


def test_room_is_given_back_after_a_fault():
    room = Room(10)
    with pytest.raises(ValueError), room.taken(10):
        raise ValueError
    with room.taken(10):
        pass


def test_every_file_is_read_in_the_room_that_its_pixels_need(tmp_path, monkeypatch):
    held, asked = [], []

    class Counted:
        @contextmanager
        def taken(self, num_bytes):
            asked.append(num_bytes)
            held.append(num_bytes)
            yield
            held.remove(num_bytes)

    monkeypatch.setattr(files, "_ROOM", Counted())
    within = []

    def flags(array, real=files.picture_flags):
        within.append(list(held))
        return real(array)

    monkeypatch.setattr(files, "picture_flags", flags)
    array = np.random.default_rng().integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    (tmp_path / "a.mp4").write_bytes(encode_video(Media(array=array, nfe=0, fps=8.0)))
    (tmp_path / "b.png").write_bytes(files_png(array[0]))
    good, faults = files.check_files([tmp_path / "a.mp4", tmp_path / "b.png"], tmp_path)
    assert not faults and [facts.frames for facts in good.values()] == [4, 1]
    assert sorted(asked) == [15 * 32 * 48, 48 * 32 * 48] and not held
    assert any(15 * 32 * 48 in own for own in within), "an image is held while it is looked at"


def files_png(array):
    from rcm_bench.media import encode

    return encode(Media(array=array, nfe=0))
