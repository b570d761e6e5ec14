"""What a LoRA file says of itself beside its tensors: alpha, as diffusers and peft write it.

diffusers writes no alpha tensors. It writes peft's settings into the file's header, by network; a
reader that looks at tensors alone takes alpha for the rank, and the update is too large or small.
"""

import json
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

_KEY = "lora_adapter_metadata"
# What changes the update beyond alpha over rank.
_UNKNOWN = ("alpha_pattern", "use_dora", "use_rslora")


def adapter_alphas(path: Path, place: str) -> dict[str, float]:
    """Return alpha by network, such as ``transformer``; empty where the header says nothing.

    Args:
        path: The .safetensors file.
        place: File, line and key, for messages.

    Raises:
        UserError: The header cannot be read, or asks for what is not merged here.
    """
    text = read_header(path, place).metadata.get(_KEY)
    if text is None:
        return {}
    try:
        said: dict[str, Any] = json.loads(text)
        alphas = {k.removesuffix("lora_alpha").rstrip("."): float(v) for k, v in said.items()
                  if k.rpartition(".")[2] == "lora_alpha"}  # fmt: skip
    except (AttributeError, TypeError, ValueError) as fault:
        raise UserError(
            f"{place}: {path}: '{_KEY}' in its header cannot be read: {fault}"
        ) from None
    asked = sorted(k for k, v in said.items() if k.rpartition(".")[2] in _UNKNOWN and v)
    if asked:
        raise UserError(
            f"{place}: {path}: asks for {', '.join(asked)}, which is not merged here; save it with "
            "its update merged, or as plain LoRA"
        )
    return alphas
