"""Turns of overhead.py: the same samples by a bare loop, and by the harness as ``run`` samples."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rcm_bench.diffusion.bare_loop import Parts, samples
from rcm_bench.diffusion.grids import rf_times
from rcm_bench.environment import device_name
from rcm_bench.errors import UserError
from rcm_bench.media import encode
from rcm_bench.prepare import Prepared
from rcm_bench.sampling import missing_work, sample
from rcm_bench.store import RunStore
from rcm_bench.suite import RcmSampler
from rcm_bench.types import Brought, Media, WorkItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rcm_bench.diffusion.model import DiffusionModel

_IN_PLACE = b'{"kept": "back"}'


class Took(NamedTuple):
    """Seconds of one turn.

    Attributes:
        first: Until the first sample was there.
        made: Until the last sample was there.
        whole: Until all files were stored.
        cpu: This process' own work in all of its threads, encoders' programs left out.
    """

    first: float
    made: float
    whole: float
    cpu: float

    @property
    def later(self) -> float:
        """Seconds of the samples after the first, which are made while files are encoded."""
        return self.made - self.first


class Turn(NamedTuple):
    """What a turn took, and its samples' frames."""

    took: Took
    arrays: "list[NDArray[np.uint8]]"


def parts_of(model: "DiffusionModel", item: WorkItem) -> Parts:
    """Return the networks that the harness uses, loaded once for all turns.

    Raises:
        UserError: They do not fit the device's memory together.
    """
    engine = model._engine
    assert engine is not None and isinstance(model.sampler, RcmSampler), "checked before"
    placement = engine.placed(1)
    if placement.mode != "resident":
        raise UserError(f"{engine.place}.memory: expected room for all networks at once")
    with placement.transformer() as net, placement.vae() as vae:
        return Parts(
            net=net,
            vae=vae,
            text_BLD=engine.velocity(net, [item], None).text_BLD,
            times=rf_times(model.sampler, item.steps),
            shape=model.latent_shape,
            round_times=model.sampler.timestep_dtype == "bfloat16",
            autotune=model.settings.autotune,
        )


def bare(parts: Parts, items: Sequence[WorkItem], fps: float | None = None) -> Turn:
    """Make samples by the bare loop; with ``fps``, write each file before the next sample."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        for number, frames in enumerate(samples(parts, [item.seed for item in items])):
            clock.sample(frames)
            if fps is not None:
                data = encode(Media(array=frames, nfe=1, fps=fps))
                (Path(folder) / f"{number}.mp4").write_bytes(data)
        return clock.turn()


def harness(
    prepared: Prepared,
    manifest: dict[str, Any],
    items: Sequence[WorkItem],
    device: str,
    *,
    keep_back: bool,
) -> Turn:
    """Make samples as ``run`` does, into a store of their own.

    Args:
        prepared: The suite; its models are loaded.
        manifest: The run's.
        items: All samples of one prompt.
        device: torch's name of the device.
        keep_back: Store some bytes in place of each file, so that nothing is encoded.
    """
    plan, name = prepared.plan, device_name(device)
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore.create(Path(folder) / "run", manifest, plan.prompts)
        clock = _Clock()
        watched: dict[str, Any] = {
            each: _Watched(model, clock, keep_back) for each, model in prepared.models.items()
        }
        try:
            todo = missing_work(plan, store.index(), frozenset({items[0].prompt_id}))
            sample(plan, watched, store, todo, device=name)
            return clock.turn()
        finally:
            store.close()


class _Clock:
    """Notes when each sample is there, as the sampling thread sees it."""

    def __init__(self) -> None:
        self._arrays: list[Any] = []
        self._times: list[float] = []
        self._start, self._work = time.perf_counter(), time.process_time()

    def sample(self, array: Any) -> None:
        self._times.append(time.perf_counter() - self._start)
        self._arrays.append(array)

    def turn(self) -> Turn:
        whole, cpu = time.perf_counter() - self._start, time.process_time() - self._work
        return Turn(Took(self._times[0], self._times[-1], whole, cpu), self._arrays)


class _Watched:
    """A model of which the clock sees every sample."""

    def __init__(self, model: Any, clock: _Clock, keep_back: bool) -> None:
        self._model, self._clock, self._keep_back = model, clock, keep_back

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media | Brought]:
        for media in self._model.generate(items):
            self._clock.sample(media.array)
            yield Brought(data=_IN_PLACE) if self._keep_back else media
