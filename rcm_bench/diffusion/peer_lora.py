"""A LoRA file merged into the networks of any diffusers pipeline: W <- W + scale (alpha / r) B A.

Names of other tools (kohya's, ComfyUI's, the original ones) become diffusers' by the pipeline's own
``lora_state_dict``; peft is not needed, and a layer that is not there is an error, not a warning.
"""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcm_bench.checkpoints.lora_metadata import adapter_alphas
from rcm_bench.diffusion.quiet import quiet
from rcm_bench.errors import UserError

_KEY = re.compile(
    r"(?P<part>unet|transformer|text_encoder(?:_\d)?)\.(?P<module>.+?)\."
    r"(?:(?P<half>lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up)(?:\.default)?\.weight"
    r"|(?:lora\.down\.weight\.)?(?P<alpha>alpha))"
)
# What diffusers makes of kohya's names is an older form of its own, told by attention processors.
_OLD = re.compile(r"(?P<unet>\.processor)?\.(?P<layer>to_q|to_k|to_v|to_out)_lora\.(?=down|up)")
_HALVES = {"lora_A": "A", "lora_down": "A", "lora.down": "A"}
_SHOWN = 8
Layer = tuple[str, str]


def merge_into(nets: Mapping[str, Any], kind: Any, path: Path, scale: float, place: str) -> None:
    """Merge a LoRA file into networks, in float32, all of it or nothing.

    Args:
        nets: Networks by the name of their part.
        kind: The pipeline's class.
        path: The .safetensors file.
        scale: Factor on the update.
        place: File, line and key, for messages.

    Raises:
        UserError: The pipeline takes none, or lists what does not fit.
    """
    layers, faults = _layers(_converted(nets, kind, path, place))
    alphas = adapter_alphas(path, place)
    updates: dict[Layer, Tensor] = {}
    for (part, module), found in layers.items():
        name = f"{part}.{module}"
        if not {"A", "B"} <= set(found):
            faults.append(f"{name} (one half only)")
        elif (weight := _weight(nets, part, module)) is None:
            faults.append(f"{name} (no such layer)")
        else:
            down, up = found["A"].float(), found["B"].float()
            if not _fits(up, down, weight):
                shapes = f"{tuple(up.shape)} by {tuple(down.shape)}"
                faults.append(f"{name} ({shapes}, expected {tuple(weight.shape)})")
                continue
            rank = len(down)
            alpha = float(found["alpha"]) if "alpha" in found else alphas.get(part, float(rank))
            product = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
            updates[part, module] = scale * alpha / rank * product
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError(
            f"{place}: {path}: does not fit the pipeline's networks: {', '.join(faults[:_SHOWN])}"
            f"{more}"
        )
    with torch.no_grad():
        for (part, module), update in updates.items():
            weight = _weight(nets, part, module)
            assert weight is not None, "found above"
            weight.copy_((weight.float() + update).to(weight.dtype))


def _fits(up: Tensor, down: Tensor, weight: Tensor) -> bool:
    """Say whether B A has the weight's shape; of a convolution B is one of 1 by 1."""
    if min(up.ndim, down.ndim) < 2 or up.shape[1] != len(down) or any(n != 1 for n in up.shape[2:]):
        return False
    return [len(up), *down.shape[1:]] == list(weight.shape)


def _converted(nets: Mapping[str, Any], kind: Any, path: Path, place: str) -> dict[str, Tensor]:
    """Return the file's tensors under diffusers' names, and alphas beside them."""
    from safetensors.torch import load_file

    if not hasattr(kind, "lora_state_dict"):
        raise UserError(f"{place}: {kind.__name__} takes no LoRA")
    tensors = load_file(path)
    if norms := [name for name in tensors if "dora_scale" in name]:
        raise UserError(
            f"{place}: {path}: is a DoRA, whose norms are not merged here ({norms[0]}, "
            f"{len(norms)} in all); save it with its update merged, or as plain LoRA"
        )
    extra: dict[str, Any] = {"unet_config": nets["unet"].config} if "unet" in nets else {}
    if "return_alphas" in inspect.signature(kind.lora_state_dict).parameters:
        extra["return_alphas"] = True  # FLUX's leaves them out otherwise
    try:
        with quiet():
            said = kind.lora_state_dict(tensors, **extra)
    except Exception as fault:  # converters break on what they do not know, each in its own way
        first = " ".join(str(fault).split()) or type(fault).__name__
        raise UserError(
            f"{place}: {path}: {kind.__name__} cannot read its names: {first}"
        ) from None
    state, alphas = said if isinstance(said, tuple) else (said, None)
    numbers = {name: torch.as_tensor(value) for name, value in (alphas or {}).items()}
    return {**state, **numbers}


def _layers(state: Mapping[str, Tensor]) -> tuple[dict[Layer, dict[str, Tensor]], list[str]]:
    """Return by network and module its A, B and alpha, and which names are something else."""
    layers: dict[Layer, dict[str, Tensor]] = {}
    faults = []
    for name, tensor in state.items():
        match = _KEY.fullmatch(_modern(name))
        if match is None:
            faults.append(f"{name} (no LoRA tensor)")
            continue
        half = "alpha" if match["alpha"] else _HALVES.get(match["half"], "B")
        own = layers.setdefault((match["part"], match["module"]), {})
        if half in own or (half == "alpha" and tensor.numel() != 1):
            faults.append(f"{name} ({'comes twice' if half in own else 'expected one number'})")
        else:
            own[half] = tensor
    return layers, faults


def _modern(name: str) -> str:
    """Spell a name of diffusers' older form as it is now; in text encoders q is ``q_proj``."""

    def spelled(match: re.Match[str]) -> str:
        layer = match["layer"]
        if match["unet"]:
            return f".{'to_out.0' if layer == 'to_out' else layer}.lora."
        return f".{layer.removeprefix('to_')}_proj.lora."

    return _OLD.sub(spelled, name).replace(".lora_linear_layer.", ".lora.")


def _weight(nets: Mapping[str, Any], part: str, module: str) -> Tensor | None:
    names = [module]
    if part.startswith("text_encoder"):  # transformers 5 has CLIP's text model without this level
        names.append(module.removeprefix("text_model."))
    for name in names:
        try:
            weight: Tensor = nets[part].get_submodule(name).weight
        except (AttributeError, KeyError):
            continue
        return weight
    return None
