"""LoRA files, merged into the weights: W <- W + scale (alpha / r) B A."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.checkpoints.layouts import diffusers_names
from rcm_bench.checkpoints.lora_metadata import adapter_alphas
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

if TYPE_CHECKING:
    from torch import Tensor

_KEY = re.compile(
    r"(?:transformer\.|diffusion_model\.|net\.)?(?P<module>.+?)"
    r"\.(?:(?P<half>lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.weight|(?P<alpha>alpha))"
)
_HALVES = {"lora_A": "A", "lora_down": "A", "lora_B": "B", "lora_up": "B"}


def find_lora(name: str | None, folder: Path, place: str) -> Path | None:
    """Return a LoRA file that is there and whole; None where none is named.

    Args:
        name: Path relative to the suite's folder or to the working folder.
        folder: Folder of the suite.
        place: File, line and model entry, for messages.

    Raises:
        UserError: There is no such file, it is none of safetensors or damaged, or asks for what is
            not merged here.
    """
    if name is None:
        return None
    path = next((p for p in (folder / name, Path(name)) if p.is_file()), None)
    if path is None or path.suffix != ".safetensors":
        raise UserError(f"{place}.lora: {name}: expected a .safetensors file that exists")
    adapter_alphas(path, f"{place}.lora")
    return path


def check_lora(path: Path, family: str, expected: Mapping[str, Sequence[int]], place: str) -> None:
    """Check names and shapes of a LoRA file against a network, from its header alone.

    Args:
        path: The .safetensors file.
        family: ``"wan"`` or ``"cosmos"``; its layers may have diffusers' or the original names.
        expected: Shapes of the network's tensors by diffusers' name.
        place: File, line and key, for messages.

    Raises:
        UserError: Lists what does not fit.
    """
    shapes = {name: tensor["shape"] for name, tensor in read_header(path, place).tensors.items()}
    faults = []
    for weight, parts in _layers(shapes, family, f"{place}: {path}").items():
        if not {"A", "B"} <= set(parts):
            faults.append(f"{weight} (one half only)")
        elif weight not in expected:
            faults.append(f"{weight} (no such layer)")
        else:
            (rank, inside), (outside, other) = (shapes[parts["A"]], shapes[parts["B"]])
            if rank != other or [outside, inside] != list(expected[weight]):
                faults.append(
                    f"{weight} ({outside}x{other} by {rank}x{inside}, "
                    f"expected {tuple(expected[weight])})"
                )
    if faults:
        raise UserError(f"{place}: {path}: does not fit the network: {', '.join(faults[:8])}")


def merge_lora(
    state: "Mapping[str, Tensor]",
    lora: "Mapping[str, Tensor]",
    family: str,
    scale: float,
    alpha: float | None = None,
) -> "dict[str, Tensor]":
    """Return a state dict with a checked LoRA merged in; computed in float32.

    Args:
        state: Tensors by diffusers' name.
        lora: Tensors of the LoRA file.
        family: ``"wan"`` or ``"cosmos"``.
        scale: Factor on the update.
        alpha: Of layers without a tensor that says it; the rank by default.
    """
    merged = dict(state)
    for weight, parts in _layers(lora, family, "lora").items():
        down, up = lora[parts["A"]].float(), lora[parts["B"]].float()
        rank = down.shape[0]
        default = float(rank) if alpha is None else alpha
        own = float(lora[parts["alpha"]]) if "alpha" in parts else default
        old = merged[weight]
        merged[weight] = (old.float() + scale * own / rank * (up @ down)).to(old.dtype)
    return merged


def _layers(names: "Mapping[str, object]", family: str, where: str) -> dict[str, dict[str, str]]:
    """Return by weight name which tensors are its A, its B and its alpha."""
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        match = _KEY.fullmatch(name)
        if match is None:
            raise UserError(f"{where}: expected LoRA tensors, got '{name}'")
        (weight,) = diffusers_names([f"{match['module']}.weight"], family, "original").values()
        part = "alpha" if match["alpha"] else _HALVES[match["half"]]
        layers.setdefault(weight, {})[part] = name
    return layers
