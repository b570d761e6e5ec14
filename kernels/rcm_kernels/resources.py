"""Registers, spills and wgmma serialisation of Triton kernels, read from the compiler with no GPU.

A kernel is launched as ever; a stand-in for the driver says which GPU it is for, and the launch
stops after compilation. ``ptxas``, which comes with Triton, then tells what it made of the code.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rcm_kernels.machine_code import disassembled, spills_in_loops

MOST_SHARED_BYTES = 227 * 1024  # of a block on an H100


class Resources(NamedTuple):
    """What one compiled kernel takes.

    Attributes:
        kernel: Its name.
        registers: Per thread.
        spilled_bytes: Per thread, stores and loads of registers that did not fit.
        shared_bytes: Shared memory of a block.
        serialized: Whether the compiler runs its wgmma instructions one after the other.
        num_wgmma: How many wgmma instructions there are.
        num_tma: How many loads through tensor memory descriptors there are.
        loop_spills: Stores and loads of such registers in each innermost loop with products.
    """

    kernel: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    serialized: bool
    num_wgmma: int
    num_tma: int
    loop_spills: list[int]


class _Target:
    """Stands in for Triton's driver: enough to compile, nothing to run."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def compiled(launch: Callable[[], object], *, capability: int = 90) -> list[Resources]:
    """Compile every kernel that a call would launch, for a GPU that need not be there.

    Args:
        launch: Launches kernels on CPU tensors, whose strides and alignment count, not their
            values; what the kernels would write is not written.
        capability: Compute capability of the GPU, 90 for an H100.

    Returns:
        One entry for each launch, in order.

    Raises:
        RuntimeError: Triton interprets its kernels in this process, or ptxas fails.
    """
    with only_compiling(capability) as kernels:
        launch()
    return [_resources(name, kernel, capability) for name, kernel in kernels]


@contextmanager
def only_compiling(capability: int | None = None) -> Iterator[list[tuple[str, Any]]]:
    """Compile what is launched, into Triton's cache, and run nothing; outputs stay unwritten.

    Args:
        capability: Compute capability of a GPU that need not be there; this machine's GPU if not
            given.

    Yields:
        A list that grows by the name of each kernel and what it was compiled to.
    """
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction, KernelInterface

    before, launcher = driver._active, KernelInterface.__getitem__
    kernels: list[tuple[str, Any]] = []

    def compiling(kernel: Any, grid: Any) -> Any:
        if not isinstance(kernel, JITFunction):
            raise RuntimeError(
                "kernels are compiled where Triton does not interpret them: "
                "unset TRITON_INTERPRET before the first import"
            )

        def compile_only(*args: Any, **kwargs: Any) -> None:
            kernel.device_caches.clear()  # they are by device, not by what a device is
            kernels.append((kernel.__name__, kernel.run(*args, grid=grid, warmup=True, **kwargs)))
            kernel.device_caches.clear()

        return compile_only

    if capability is not None:
        driver.set_active(_Target(capability))
    KernelInterface.__getitem__ = compiling
    try:
        yield kernels
    finally:
        KernelInterface.__getitem__ = launcher
        driver._active = before


def _resources(name: str, kernel: Any, capability: int) -> Resources:
    ptx = str(kernel.asm["ptx"])
    said, cubin = _ptxas(ptx, capability)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", said)]
    if not registers:
        raise RuntimeError(f"ptxas told no registers of {name}: {said.strip()[:300]}")
    return Resources(
        kernel=name,
        registers=max(registers),
        spilled_bytes=sum(int(count) for pair in spills for count in pair),
        shared_bytes=int(kernel.metadata.shared),
        serialized="serialized" in said.lower(),
        num_wgmma=ptx.count("wgmma.mma_async"),
        num_tma=ptx.count("cp.async.bulk.tensor"),
        loop_spills=spills_in_loops(disassembled(cubin)),
    )


def _ptxas(ptx: str, capability: int) -> tuple[str, bytes]:
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    suffix = "a" if capability >= 90 else ""
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        done = subprocess.run(
            [str(program), "-v", f"--gpu-name=sm_{capability}{suffix}", str(source)]
            + ["-o", str(cubin)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"ptxas failed: {done.stderr.strip()[:500]}")
        return done.stderr, cubin.read_bytes()
