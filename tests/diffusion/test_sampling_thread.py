"""What the sampling thread does beside the networks: it waits for a GPU once, orders nothing."""

import time

import numpy as np
import pytest
import torch
from tiny_models import item, model_of

from rcm_bench.diffusion.decode import fetched
from rcm_bench.diffusion.marks import Marks
from rcm_bench.suite import RcmSampler


class Event:
    """Stands in for a GPU's: what is recorded takes place a second after the last."""

    waited: list["Event"]
    recorded: list["Event"]

    def __init__(self, enable_timing=False):
        assert enable_timing

    def record(self):
        self.recorded.append(self)

    def synchronize(self):
        self.waited.append(self)

    def elapsed_time(self, other):
        return 1000.0 * (self.recorded.index(other) - self.recorded.index(self))


def test_a_gpu_is_waited_for_once(monkeypatch):
    Event.waited, Event.recorded = [], []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", None)
    marks = Marks("cuda")
    marks.end("network")
    marks.end("decode")
    assert Event.waited == []
    assert marks.seconds() == {"network": 1.0, "decode": 1.0}
    assert Event.waited == Event.recorded[2:]


def test_parts_of_a_cpus_time_follow_each_other():
    start = time.perf_counter()
    marks = Marks("cpu")
    time.sleep(0.02)
    marks.end("network")
    marks.end("decode")
    whole, seconds = time.perf_counter() - start, marks.seconds()
    assert seconds["network"] >= 0.02 and seconds["decode"] >= 0
    assert sum(seconds.values()) <= whole


def test_a_sample_says_what_its_parts_took(wan):
    model = model_of("wan", wan[0], RcmSampler(kind="rcm"), frames=5, fps=16.0)
    model.load("cpu")
    start = time.perf_counter()
    (media,) = model.generate([item(steps=1)])
    whole = time.perf_counter() - start
    assert set(media.seconds) == {"network", "decode"}
    assert media.seconds["network"] > 0 and media.seconds["decode"] > 0
    assert sum(media.seconds.values()) < whole


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
)  # fmt: skip
def test_frames_come_in_order(device):
    planes = torch.randint(0, 256, (3, 5, 6, 8), dtype=torch.uint8)
    array = fetched(planes.to(device).permute(1, 2, 3, 0))
    assert array.flags.c_contiguous and array.dtype == np.uint8
    assert (array == planes.numpy().transpose(1, 2, 3, 0)).all()
    if device == "cuda":
        assert torch.from_numpy(array).is_pinned()
