"""Weights as safetensors with the architecture and a model card in the header; no code is run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rcm_distill import eight_bits
from rcm_distill.nets.dit import DiT, DiTConfig

FORMAT = "rcm_distill.dit/1"
_LISTED = 5


class LoadedNet(NamedTuple):
    """A network read from a file, with what the file says of it."""

    net: DiT
    config: DiTConfig
    card: dict[str, Any]


def save(
    path: Path,
    weights: Mapping[str, Tensor],
    config: DiTConfig,
    card: Mapping[str, Any],
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write weights, architecture and card as one safetensors file.

    Args:
        path: File to write; it appears whole or not at all.
        weights: A state dict of ``DiT(config)``.
        config: The architecture.
        card: What made the weights: recipe, commit, seed, hardware, time, scores.
        dtype: Storage type, read back as float32; ``torch.int8`` keeps matrices at 8 bits an
            element (``eight_bits``).
    """
    if dtype == torch.int8:
        tensors = eight_bits.pack(weights)
    else:
        tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in weights.items()}
    header = {
        "format": FORMAT,
        "config": json.dumps(asdict(config), sort_keys=True),
        "card": json.dumps(dict(card), sort_keys=True),
    }
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata=header)
    partial.replace(path)


def load(path: Path, device: torch.device | str = "cpu") -> LoadedNet:
    """Read a network written by ``save``; every key and shape must match.

    Raises:
        ValueError: The file is missing, truncated, of another format, or its tensors do not fit.
    """
    header, tensors = _read(path)
    try:
        config = _config(json.loads(header["config"]))
        card = json.loads(header["card"])
    except (KeyError, TypeError, ValueError) as fault:
        raise ValueError(
            f"{path}: unreadable architecture or card in the header: {fault}"
        ) from None
    try:
        weights = eight_bits.unpack(tensors)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
    net = DiT(config)
    _check(path, net.state_dict(), weights)
    net.load_state_dict(weights)
    return LoadedNet(net.to(device).eval(), config, card)


def read_card(path: Path) -> dict[str, Any]:
    """Read the model card alone, without the weights.

    Raises:
        ValueError: The file is missing, truncated or of another format.
    """
    header, _ = _read(path, tensors=False)
    card: dict[str, Any] = json.loads(header["card"])
    return card


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"{path}: no such weight file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError(
                    f"{path}: expected the weight format '{FORMAT}', got {header.get('format')!r}"
                )
            return header, {k: file.get_tensor(k) for k in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise ValueError(
            f"{path}: expected a safetensors file, which this is not, or it is truncated ({fault})"
        ) from None


def _config(values: dict[str, Any]) -> DiTConfig:
    known = {field.name for field in fields(DiTConfig)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown architecture fields {unknown}")
    return DiTConfig(**values)


def _check(path: Path, expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    faults = [f"missing {name}" for name in expected if name not in got]
    faults += [f"unexpected {name}" for name in got if name not in expected]
    faults += [
        f"{name} must have shape {tuple(expected[name].shape)}, got {tuple(got[name].shape)}"
        for name in expected
        if name in got and expected[name].shape != got[name].shape
    ]
    if faults:
        more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise ValueError(
            f"{path}: weights do not fit their architecture: {'; '.join(faults[:_LISTED])}{more}"
        )
