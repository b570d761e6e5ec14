"""Power-function averages of weights (Karras et al. 2024, "EDM2"), several lengths at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def gamma_from_length(length: float) -> float:
    """Return the exponent gamma of a relative length s, the standard deviation of the average.

    gamma is the largest real root of g^3 + 7 g^2 + (16 - s^-2) g + (12 - s^-2) (EDM2, equation 126
    and algorithm 2): s = 0.10 gives 6.94, s = 0.05 gives 16.97.

    Raises:
        ValueError: The length is outside (0, 0.28), where gamma is positive.
    """
    if not 0 < length < 0.28:
        raise ValueError(f"length must be in (0, 0.28), got {length}")
    inverse = length**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(roots[np.isreal(roots)].real.max())


class PowerEMA:
    """Averages of parameters with weights proportional to step^gamma.

    average_k = beta_k average_(k-1) + (1 - beta_k) theta_k, beta_k = (1 - 1/k)^(gamma + 1), so the
    first update copies and the length stays the same share of training, however long that is.
    """

    def __init__(self, parameters: Iterable[Tensor], lengths: Sequence[float]) -> None:
        """Start averages of parameters.

        Args:
            parameters: Parameters to follow, in an order that stays.
            lengths: Relative lengths s, such as 0.05.
        """
        self.parameters = list(parameters)
        self.lengths = tuple(lengths)
        self.gammas = tuple(gamma_from_length(length) for length in self.lengths)
        self.averages = [[p.detach().clone() for p in self.parameters] for _ in self.lengths]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the current parameters.

        Args:
            step: Updates so far with this one, from 1.
        """
        if step < 1:
            raise ValueError(f"step counts updates from 1, got {step}")
        for gamma, average in zip(self.gammas, self.averages, strict=True):
            beta = (1 - 1 / step) ** (gamma + 1)
            torch._foreach_lerp_(average, self.parameters, 1 - beta)

    def state_dict(self) -> dict[str, Any]:
        """Return lengths and averages."""
        return {"lengths": self.lengths, "averages": self.averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put averages back.

        Raises:
            ValueError: The lengths differ from those of this object.
        """
        if tuple(state["lengths"]) != self.lengths:
            raise ValueError(f"lengths must be {self.lengths}, got {tuple(state['lengths'])}")
        for average, saved in zip(self.averages, state["averages"], strict=True):
            for tensor, value in zip(average, saved, strict=True):
                tensor.copy_(value)
