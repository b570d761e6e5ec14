"""How alike a video's frames stay: the formula that two dimensions share."""

from typing import TYPE_CHECKING

from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


def consistency(features: "Tensor") -> Parts:
    """Return the likeness of frames to the first frame and to the one before.

    sum_{t >= 1} (max(0, cos(f_{t-1}, f_t)) + max(0, cos(f_0, f_t))) / 2, over T - 1 frames
    (VBench, subject and background consistency).

    Args:
        features: Of shape (T, D), T at least 2.
    """
    from torch.nn.functional import normalize

    unit = normalize(features.float(), dim=-1)
    previous = (unit[:-1] * unit[1:]).sum(-1).clamp(min=0)
    first = (unit[:1] * unit[1:]).sum(-1).clamp(min=0)
    return Parts(float(((previous + first) / 2).double().sum()), len(unit) - 1)
