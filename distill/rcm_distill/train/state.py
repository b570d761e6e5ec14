"""The whole state of a training as tensors and JSON, so that it can be resumed exactly."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "rcm_distill.training/1"


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a state; the file appears whole or not at all.

    Args:
        path: File to write.
        tensors: Weights, averages, optimiser moments and generator states, by name.
        facts: Step, seconds and whatever else is not a tensor (JSON).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(held, partial, metadata={"format": FORMAT, "facts": json.dumps(facts)})
    partial.replace(path)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state written by ``save_state``.

    Raises:
        ValueError: The file is truncated or of another format.
    """
    return _read(path, tensors=True)


def read_facts(path: Path) -> dict[str, Any]:
    """Read what a state says of itself, without its tensors.

    Raises:
        ValueError: The file is truncated or of another format.
    """
    return _read(path, tensors=False)[1]


def _read(path: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = file.keys() if tensors else ()
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as fault:
        raise ValueError(f"{path}: not a readable training state ({fault})") from None
    if header.get("format") != FORMAT:
        raise ValueError(f"{path}: expected '{FORMAT}', got {header.get('format')!r}")
    return found, json.loads(header["facts"])


def flatten_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the moments of every parameter by its place in the optimiser."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, moments in state.items()
        for name, value in moments.items()
    }


def restore_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put back what ``flatten_optimizer`` named."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix + "."):
            index, moment = name.removeprefix(prefix + ".").split(".", 1)
            state.setdefault(int(index), {})[moment] = tensor
    whole["state"] = state
    optimizer.load_state_dict(whole)
