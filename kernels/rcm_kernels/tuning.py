"""Which configuration a launch takes: a tuned one if this machine has found it, else the table's.

Tuning is asked for (``tune``), never done in passing: a new length costs no search.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
import triton
from torch import Tensor

from rcm_kernels.configurations import Configuration, Kernel, gpu_class, shipped

_found: dict[str, Configuration] = {}
_read_for: list[tuple[str | None, ...]] = []  # what the environment said when a file was read


def chosen(kernel: Kernel, query: Tensor, value: Tensor) -> Configuration:
    """Return the configuration for inputs (B, H, S, D) and (B, G, T, E)."""
    if query.device.type == "cuda":
        _read_cache()
        # The key asks the driver: not at every launch of those who never tuned.
        tuned = _found.get(_key(kernel, query, value)) if _found else None
        if tuned is not None:
            return tuned
    head_size = max(query.shape[3], value.shape[3])
    return shipped(gpu_class(query.device), kernel, query.dtype, head_size)


def tune(
    kernel: Kernel,
    query: Tensor,
    value: Tensor,
    run: Callable[[Configuration], object],
    *,
    seconds: float = 60.0,
    measure: Callable[[Callable[[], object]], float] | None = None,
    candidates: Iterable[Configuration] | None = None,
) -> Configuration:
    """Time candidates and keep the fastest, in memory and in the cache file.

    Args:
        kernel: What is tuned.
        query: Queries of the shape and dtype that is tuned for, (B, H, S, D).
        value: Values, (B, G, T, E).
        run: Launches once with a configuration.
        seconds: No candidate starts after this time; the table's own entry is tried first.
        measure: Returns milliseconds of a call; Triton's do_bench if not given.
        candidates: What to try; the neighbourhood of the table's entry if not given.

    Returns:
        The fastest that ran.

    Raises:
        RuntimeError: None ran.
    """
    end = time.monotonic() + seconds
    measure = measure or triton.testing.do_bench
    first = shipped(
        gpu_class(query.device), kernel, query.dtype, max(query.shape[3], value.shape[3])
    )
    times: dict[Configuration, float] = {}
    failures: list[str] = []
    for candidate in dict.fromkeys([first, *(candidates or neighbours(first))]):
        if times and time.monotonic() >= end:
            break
        try:
            times[candidate] = measure(lambda c=candidate: run(c))  # type: ignore[misc]
        except (triton.runtime.errors.OutOfResources, RuntimeError) as error:
            failures.append(f"{candidate}: {error}")
    if not times:
        raise RuntimeError(f"no configuration of {kernel} ran. First failure: {failures[0]}")
    best = min(times, key=times.__getitem__)
    tuned = Configuration(**{**asdict(best), "source": f"tuned here, {times[best]:.4f} ms"})
    _found[_key(kernel, query, value)] = tuned
    _write_cache()
    return tuned


def neighbours(first: Configuration) -> list[Configuration]:
    """Vary one configuration by blocks, warps, stages and the way to load."""
    found = []
    for m in {first.block_m, 64, 128}:
        for n in {first.block_n, 32, 64, 128}:
            for warps, stages, tma in ((8, 2, True), (4, 2, True), (8, 3, True), (8, 2, False)):
                changed = {"block_m": m, "block_n": n, "num_warps": warps, "num_stages": stages}
                changed |= {"tma": tma, "gluon": False}
                found.append(Configuration(**{**asdict(first), **changed}))
    return found


def cache_file() -> Path:
    """Return where tuned configurations are kept; RCM_KERNELS_CACHE moves it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RCM_KERNELS_CACHE") or Path(home) / "rcm_kernels") / "tuned_2.json"


def _key(kernel: Kernel, query: Tensor, value: Tensor) -> str:
    name = torch.cuda.get_device_name(query.device) if query.device.type == "cuda" else "cpu"
    sizes = f"{query.shape[3]}/{value.shape[3]}"
    return f"{name} | triton {triton.__version__} | {kernel} | {query.dtype} | {sizes}"


def _read_cache() -> None:
    said = tuple(map(os.environ.get, ("RCM_KERNELS_CACHE", "XDG_CACHE_HOME", "HOME")))
    if said in _read_for:
        return
    _read_for.append(said)
    path = cache_file()
    if path.exists():
        stored = json.loads(path.read_text())
        _found.update({key: Configuration(**value) for key, value in stored.items()})


def _write_cache() -> None:
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = json.loads(path.read_text()) if path.exists() else {}
    stored.update({key: asdict(value) for key, value in _found.items()})
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(stored, indent=1, sort_keys=True))
    part.replace(path)
