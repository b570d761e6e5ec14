"""LoRA files, merged into the weights: W <- W + scale (alpha / r) B A.

Step-distilled ones of Wan2.1 also hold whole differences, of weights and norms (``.diff``) and of
biases (``.diff_b``): W <- W + scale D.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.checkpoints.layouts import diffusers_names, original_names
from rcm_bench.checkpoints.lora_metadata import adapter_alphas
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

if TYPE_CHECKING:
    from torch import Tensor

_KEY = re.compile(
    r"(?:transformer\.|diffusion_model\.|net\.)?(?P<module>.+?)"
    r"\.(?:(?P<half>lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.weight|(?P<alpha>alpha)"
    r"|(?P<diff>diff_b|diff))"
)
_FLAT = "lora_unet_"  # kohya's tools write every dot of a module as an underscore
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
    for weight, parts in _layers(shapes, family, f"{place}: {path}", expected).items():
        found = {part: list(shapes[name]) for part, name in parts.items()}
        if fault := _fault(found, expected.get(weight)):
            faults.append(f"{weight} ({fault})")
    if faults:
        raise UserError(f"{place}: {path}: does not fit the network: {', '.join(faults[:8])}")


def _fault(found: Mapping[str, list[int]], expected: Sequence[int] | None) -> str | None:
    """Say what is wrong with the parts of one layer."""
    halves = {"A", "B"} & set(found)
    if len(halves) == 1 or set(found) == {"alpha"}:
        return "one half only"
    if expected is None:
        return "no such layer"
    whole = tuple(expected)
    if math.prod(found.get("alpha", ())) != 1:
        return f"an alpha of {tuple(found['alpha'])}, expected one number"
    if halves:
        if min(len(found["A"]), len(found["B"])) < 2:
            return f"{_times(found['B'])} by {_times(found['A'])}, expected {whole}"
        (rank, *inside), (outside, other, *ones) = found["A"], found["B"]
        if rank != other or [outside, *inside] != list(whole) or any(n != 1 for n in ones):
            return f"{_times(found['B'])} by {_times(found['A'])}, expected {whole}"
    if "diff" in found and found["diff"] != list(whole):
        return f"a difference of {tuple(found['diff'])}, expected {whole}"
    return None


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


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
    for weight, parts in _layers(lora, family, "lora", state).items():
        old = merged[weight].float()
        if "diff" in parts:
            old = old + scale * lora[parts["diff"]].float()
        if "A" in parts:
            down, up = lora[parts["A"]].float(), lora[parts["B"]].float()
            rank = down.shape[0]
            default = float(rank) if alpha is None else alpha
            own = float(lora[parts["alpha"]]) if "alpha" in parts else default
            product = (up.flatten(1) @ down.flatten(1)).reshape(old.shape)
            old = old + scale * own / rank * product
        merged[weight] = old.to(merged[weight].dtype)
    return merged


def _layers(
    names: Iterable[str], family: str, where: str, known: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return by diffusers' name of a tensor which of the file's are its A, B, alpha, difference.

    Args:
        names: Names of the file.
        family: ``"wan"`` or ``"cosmos"``.
        where: Place and file, for the message.
        known: Names of the network's tensors, by which flat names are told apart.
    """
    originals = original_names(known, family).values()
    modules = {name.removesuffix(".weight").removesuffix(".bias") for name in originals}
    flat = {module.replace(".", "_"): module for module in modules}
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        match = _KEY.fullmatch(name)
        if match is None:
            raise UserError(f"{where}: expected LoRA tensors, got '{name}'")
        module = match["module"]
        if module.startswith(_FLAT):
            module = flat.get(module.removeprefix(_FLAT), module)
        leaf = ".bias" if match["diff"] == "diff_b" else ".weight"
        if module.rpartition(".")[2] in ("modulation", "scale_shift_table"):
            leaf = ""  # a tensor of its own
        (weight,) = diffusers_names([f"{module}{leaf}"], family, "original").values()
        part = "alpha" if match["alpha"] else "diff" if match["diff"] else _HALVES[match["half"]]
        own = layers.setdefault(weight, {})
        if part in own:
            raise UserError(f"{where}: expected one tensor, got '{own[part]}' and '{name}'")
        own[part] = name
    return layers
