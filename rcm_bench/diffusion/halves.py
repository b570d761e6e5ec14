"""Smaller batches where memory does not suffice."""

from collections.abc import Callable, Iterator, Sequence

from rcm_bench.diffusion.loading import free
from rcm_bench.types import Media, WorkItem


def in_halves(
    make: Callable[[Sequence[WorkItem]], list[Media]], items: Sequence[WorkItem], device: str
) -> Iterator[Media]:
    """Make one batch; where memory does not suffice, its halves, down to single samples.

    Args:
        make: Makes a whole batch, or raises ``torch.OutOfMemoryError``.
        items: The batch.
        device: Where it is made.
    """
    import torch

    fault: BaseException | None = None
    try:
        made = make(items)
    except torch.OutOfMemoryError as caught:
        if len(items) == 1:
            raise
        fault = caught.with_traceback(None)
    if fault is None:
        yield from made
        return
    free(device)  # outside of 'except', which would keep the tensors alive
    half = len(items) // 2
    yield from in_halves(make, items[:half], device)
    yield from in_halves(make, items[half:], device)
