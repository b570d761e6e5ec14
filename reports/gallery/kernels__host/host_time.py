"""Time what the host does for one call of the fused kernels, with no GPU: all but the launch.

    PYTHONPATH=<tree>/kernels python reports/gallery/kernels__host/host_time.py

prints the median in microseconds of 1,000 calls, for an H100 that is not there.
"""

import statistics
import time

import torch
from triton.runtime.driver import driver
from triton.runtime.jit import KernelInterface

from rcm_kernels import attention_with_tangent, choice, resources, tuning


def up_to_the_launch(kernel, grid):
    """Prepare a launch as Triton does, and launch nothing."""
    return lambda *args, **options: kernel.run(*args, grid=grid, warmup=True, **options)


if __name__ == "__main__":
    choice._why_not_here = lambda device: None
    tuning.gpu_class = lambda device: "hopper"
    driver.set_active(resources._Target(90))
    KernelInterface.__getitem__ = up_to_the_launch
    shape = (1, 512, 2, 128)
    inputs = [torch.zeros(shape, dtype=torch.bfloat16).transpose(1, 2) for _ in range(6)]
    seconds = []
    with torch.no_grad():
        for _ in range(1005):
            start = time.perf_counter()
            attention_with_tangent(*inputs, impl="triton")
            seconds.append(time.perf_counter() - start)
    print(f"{1e6 * statistics.median(seconds[5:]):.0f}")
