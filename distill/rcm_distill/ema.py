"""Averages of weights, several at once: power functions, constant decays, half-lives."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@functools.cache
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """Weights proportional to step^gamma (Karras et al. 2024, "EDM2"; NVlabs/rcm, FastGen).

    beta_k = (1 - 1/k)^(gamma + 1), so that the first update copies and the length stays the same
    share of training, however long that is.

    Attributes:
        length: Relative length s; see ``gamma_from_length``.
    """

    length: float

    def __post_init__(self) -> None:
        """Refuse a length without a gamma."""
        gamma_from_length(self.length)

    def beta(self, step: int) -> float:
        """Return what is kept of the average at update ``step``, from 1."""
        return float((1 - 1 / step) ** (gamma_from_length(self.length) + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A constant decay (MeanFlow 0.9999; Self-Forcing 0.99 from update 200; FastGen).

    Attributes:
        decay: What is kept of the average at every update.
        start: Up to this update the average is a copy.
    """

    decay: float
    start: int = 1

    def __post_init__(self) -> None:
        """Refuse a decay that is no share, and a start before the first update."""
        if not 0 <= self.decay < 1 or self.start < 1:
            raise ValueError(
                f"decay must be in [0, 1) and start at least 1, got {self.decay} and {self.start}"
            )

    def beta(self, step: int) -> float:
        """Return what is kept of the average at update ``step``, from 1."""
        return 0.0 if step <= self.start else self.decay


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfLife:
    """beta_k = 2^(-1 / min(H, rampup k)) (EDM, FastGen, which count images, not updates).

    Attributes:
        updates: H, after which half of an update's weight is left.
        rampup: Largest half-life as a share of the updates so far; None for none.
    """

    updates: float
    rampup: float | None = 0.05

    def __post_init__(self) -> None:
        """Refuse half-lives that are not positive."""
        if self.updates <= 0 or (self.rampup is not None and self.rampup <= 0):
            raise ValueError(
                f"updates and rampup must be positive, got {self.updates} and {self.rampup}"
            )

    def beta(self, step: int) -> float:
        """Return what is kept of the average at update ``step``, from 1."""
        limit = self.updates if self.rampup is None else min(self.updates, self.rampup * step)
        return float(0.5 ** (1 / limit))


Law = Power | Constant | HalfLife


class Averages:
    """Averages of parameters: average_k = beta_k average_(k-1) + (1 - beta_k) theta_k."""

    def __init__(self, parameters: Iterable[Tensor], laws: Sequence[Law | float]) -> None:
        """Start averages of parameters.

        Args:
            parameters: Parameters to follow, in an order that stays.
            laws: One for each average; a number is the length of a power function, such as 0.05.
        """
        self.parameters = list(parameters)
        self.laws = tuple(Power(length=x) if isinstance(x, float) else x for x in laws)
        self.averages = [[p.detach().clone() for p in self.parameters] for _ in self.laws]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the current parameters.

        Args:
            step: Updates so far with this one, from 1.
        """
        if step < 1:
            raise ValueError(f"step counts updates from 1, got {step}")
        for law, average in zip(self.laws, self.averages, strict=True):
            torch._foreach_lerp_(average, self.parameters, 1 - law.beta(step))

    def state_dict(self) -> dict[str, Any]:
        """Return laws and averages."""
        return {"laws": self.laws, "averages": self.averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put averages back.

        Raises:
            ValueError: The laws differ from those of this object.
        """
        if tuple(state["laws"]) != self.laws:
            raise ValueError(f"laws must be {self.laws}, got {tuple(state['laws'])}")
        for average, saved in zip(self.averages, state["averages"], strict=True):
            for tensor, value in zip(average, saved, strict=True):
                tensor.copy_(value)
