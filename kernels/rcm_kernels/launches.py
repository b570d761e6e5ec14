"""Count launches of Triton kernels, interpreted or compiled: proof of which path ran."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


@contextmanager
def counted_launches() -> Iterator[list[str]]:
    """Yield a list that grows by a kernel's name at each launch; empty without Triton."""
    names: list[str] = []
    if find_spec("triton") is None:
        yield names
        return
    from triton.runtime.jit import KernelInterface

    launcher = KernelInterface.__getitem__

    def counting(kernel: Any, grid: Any) -> Any:
        launch = launcher(kernel, grid)

        def launched(*args: Any, **kwargs: Any) -> Any:
            names.append(getattr(kernel, "__name__", "a kernel"))
            return launch(*args, **kwargs)

        return launched

    KernelInterface.__getitem__ = counting
    try:
        yield names
    finally:
        KernelInterface.__getitem__ = launcher
