"""Files beside the sampling: several at a time, stored in order, bounded, nothing lost."""

import itertools
import json
import os
import threading
import time

import pytest

from rcm_bench import sampling
from rcm_bench.store import RunStore
from rcm_bench.verbs.run import run

BATCH, ENCODERS, ALL = 9, 3, 72


@pytest.fixture
def path(suite, monkeypatch):
    """The tiny suite in batches of nine, three files at a time."""
    monkeypatch.setattr(sampling, "encoders", lambda: ENCODERS)
    return str(suite(**{"batch_size: 8": f"batch_size: {BATCH}"}))


@pytest.fixture
def made(monkeypatch):
    """Item ids in the order in which they were made."""
    import rcm_fake

    real, ids = rcm_fake.Model.generate, []

    def generate(self, items):
        yield from real(self, items)
        ids.extend(item.item_id for item in items)

    monkeypatch.setattr(rcm_fake.Model, "generate", generate)
    return ids


def encoding(monkeypatch, before):
    """Let ``before`` see the number of each file before it is encoded."""
    real, numbers = sampling.encode, itertools.count()

    def encode(media):
        before(next(numbers))
        return real(media)

    monkeypatch.setattr(sampling, "encode", encode)


def test_files_are_encoded_at_a_time_and_stored_in_order(path, made, tmp_path, monkeypatch):
    """Each file of three waits for the others, and the first of them is ready last."""
    together = threading.Barrier(ENCODERS)

    def wait(number):
        together.wait(60)
        time.sleep(0 if number % ENCODERS else 0.005)

    encoding(monkeypatch, wait)
    assert run(path, tmp_path / "out").whole
    (file,) = (tmp_path / "out" / "records").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    stored = [line["item_id"] for line in lines if line["kind"] == "sample"]
    assert stored == made and len(stored) == ALL


def test_the_sampling_waits_for_files(path, made, tmp_path, monkeypatch):
    encoded, ahead = itertools.count(), []

    def wait(_):
        time.sleep(0.005)
        ahead.append(len(made) - next(encoded))

    encoding(monkeypatch, wait)
    assert run(path, tmp_path / "out").whole
    # Beside the encoders two batches may wait, and a third stands before the door.
    assert 2 * BATCH <= max(ahead) <= ENCODERS + 3 * BATCH < ALL


def test_an_encoders_fault_ends_the_run_with_its_message(path, made, tmp_path, monkeypatch):
    def fail(number):
        if number == 3 * BATCH + 4:
            raise RuntimeError("ffmpeg ended with code 1: no space left")

    encoding(monkeypatch, fail)
    with pytest.raises(RuntimeError, match="ffmpeg ended with code 1: no space left"):
        run(path, tmp_path / "out")
    assert len(RunStore.open(tmp_path / "out").index().samples) == 3 * BATCH
    monkeypatch.undo()
    assert run(path, tmp_path / "out").whole


def test_an_interrupt_keeps_every_sample_that_was_made(path, made, tmp_path, monkeypatch):
    import rcm_fake

    real = rcm_fake.Model.generate

    def generate(self, items):
        if len(made) == 4 * BATCH:
            raise KeyboardInterrupt
        return real(self, items)

    monkeypatch.setattr(rcm_fake.Model, "generate", generate)
    encoding(monkeypatch, lambda _: time.sleep(0.005))
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out")
    stored = RunStore.open(tmp_path / "out").index().samples
    assert {record["item_id"] for record in stored.values()} == set(made)
    assert len(made) == 4 * BATCH


@pytest.mark.parametrize(("processors", "gigabytes", "expected"), [
    (1, 64, 1), (2, 64, 1), (10, 64, 1), (11, 64, 2), (16, 64, 3), (128, 2000, 4), (16, 9, 2),
    (16, 1, 1),
])  # fmt: skip
def test_as_many_as_the_machine_has_room_for(processors, gigabytes, expected, monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(gigabytes * 1e9) // 4096}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert sampling.encoders() == expected
