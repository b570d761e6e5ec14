"""The original RAFT's names of weights as torchvision's: every one of them, or an error."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_RULES = (
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    # An encoder's first convolution, its last, and the blocks between.
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm([12])\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)
_TWICE = re.compile(r"(layer\d\.\d)\.norm3\.")
"""The original registers this norm under two names."""


def torchvision_name(name: str) -> str:
    """Return torchvision's name of one of the original RAFT's weights."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def torchvision_state(state: "Mapping[str, Tensor]", path: Path) -> "dict[str, Tensor]":
    """Rename the original RAFT's weights.

    Args:
        state: Tensors by the original name, with or without ``module.`` before it.
        path: The file, for messages.

    Raises:
        UserError: A norm that has two names has two values.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    renamed = {}
    for name, value in plain.items():
        twin = _TWICE.sub(r"\1.downsample.1.", name)
        if twin == name:
            renamed[torchvision_name(name)] = value
        elif twin not in plain or not value.equal(plain[twin]):
            raise UserError(f"{path}: expected {name} equal to {twin}, as one norm has both names")
    return renamed
