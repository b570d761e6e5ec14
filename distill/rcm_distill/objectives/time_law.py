"""Distributions of training times; every law draws TrigFlow times in [0, pi/2].

Each is a frozen dataclass with ``sample(n, rng, device)``; ``TimeLaw`` is their union.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rcm_distill.time import trig_from_edm, trig_from_rf

_Device = torch.device | str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogNormal:
    """log sigma ~ N(P_mean, P_std^2), t = atan(sqrt(num_frames) sigma) (EDM; rCM, Table 4).

    Attributes:
        P_mean: Mean of log sigma.
        P_std: Standard deviation of log sigma; not negative.
        num_frames: Latent frames T of a video; the rCM paper scales sigma by sqrt(T).
    """

    P_mean: float
    P_std: float
    num_frames: int = 1

    def __post_init__(self) -> None:
        """Refuse a negative spread and less than one frame."""
        if self.P_std < 0 or self.num_frames < 1:
            raise ValueError(
                f"P_std must be >= 0 and num_frames >= 1, got {self.P_std} and {self.num_frames}"
            )

    def sample(self, n: int, rng: Generator, device: _Device) -> Tensor:
        """Draw n times, float32."""
        mean = self.P_mean + 0.5 * math.log(self.num_frames)
        return trig_from_edm(torch.exp(mean + self.P_std * _normal(n, rng, device)))


@dataclass(frozen=True, kw_only=True, slots=True)
class UniformShift:
    """u ~ U(0, 1), t_rf = shift u / (1 + (shift - 1) u) (rCM's p_D for video: shift 5).

    Attributes:
        shift: Above 1 moves times towards noise; positive.
        low: Smallest u.
        high: Largest u.
    """

    shift: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a shift that is not positive and an empty range."""
        if self.shift <= 0 or not 0 <= self.low < self.high <= 1:
            raise ValueError(
                "expected shift > 0 and 0 <= low < high <= 1, "
                f"got {self.shift}, {self.low}, {self.high}"
            )

    def sample(self, n: int, rng: Generator, device: _Device) -> Tensor:
        """Draw n times, float32."""
        u = torch.rand(n, generator=rng, device=device)
        u = self.low + (self.high - self.low) * u
        return trig_from_rf(self.shift * u / (1 + (self.shift - 1) * u))


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitNormal:
    """t_rf = sigmoid(N(mean, std^2)) (Esser et al. 2024).

    Attributes:
        mean: Mean of the logit; above 0 moves times towards noise.
        std: Standard deviation of the logit; not negative.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative spread."""
        if self.std < 0:
            raise ValueError(f"std must be >= 0, got {self.std}")

    def sample(self, n: int, rng: Generator, device: _Device) -> Tensor:
        """Draw n times, float32."""
        return trig_from_rf(torch.sigmoid(self.mean + self.std * _normal(n, rng, device)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """One of several laws per sample.

    Attributes:
        weights: Positive weights, normalised when used.
        laws: As many laws.
    """

    weights: tuple[float, ...]
    laws: tuple[LogNormal | UniformShift | LogitNormal, ...]

    def __post_init__(self) -> None:
        """Refuse weights that do not fit the laws."""
        if len(self.weights) != len(self.laws) or not self.laws:
            raise ValueError(
                f"expected one weight per law, got {len(self.weights)} for {len(self.laws)}"
            )
        if min(self.weights) <= 0:
            raise ValueError(f"weights must be positive, got {self.weights}")

    def sample(self, n: int, rng: Generator, device: _Device) -> Tensor:
        """Draw n times, float32."""
        drawn = torch.stack([law.sample(n, rng, device) for law in self.laws])
        u = torch.rand(n, generator=rng, device=device) * sum(self.weights)
        # The index is counted up in floats of the host: a tensor of weights would be a copy to the
        # device in every iteration.
        index, edge = torch.zeros(n, dtype=torch.int64, device=device), 0.0
        for weight in self.weights[:-1]:
            edge += weight
            index = index + (u >= edge)
        return drawn.gather(0, index[None])[0]


TimeLaw = LogNormal | UniformShift | LogitNormal | Mixture


def _normal(n: int, rng: Generator, device: _Device) -> Tensor:
    return torch.randn(n, generator=rng, device=device)
