"""Denoisers known in closed form: the oracle of every objective and sampler.

Data N(mean, std^2 I) or a mixture of such; sigma_d is 1 only in name, any std is allowed. Nothing
here divides by sin t. Conditions are ignored. Arithmetic is in the dtype of the samples.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import MeanVelocityDenoiser, Prediction
from rcm_distill.time import trig

Number = float | Tensor


class _Moments(NamedTuple):
    cos_t: Tensor
    sin_t: Tensor
    variance: Tensor  # of x_t
    centred: Tensor  # x_t less its mean


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """The ideal denoiser of data N(mean, std^2 I): a teacher, or the critic of such a student.

    With v = std^2 cos^2 t + sin^2 t: E[x0 | x_t] = mean + std^2 cos t (x_t - cos t mean) / v and
    E[eps | x_t] = sin t (x_t - cos t mean) / v; F = cos t E[eps] - sin t E[x0].
    """

    mean: Number
    std: Number

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0 from samples (B, ...) and times (B,)."""
        cos_t, sin_t, variance, centred = _moments(self.mean, self.std, x_t, t_B)
        x0 = self.mean + self.std**2 * cos_t * centred / variance
        return Prediction(cos_t * sin_t * centred / variance - sin_t * x0, x0)


@dataclass(frozen=True, slots=True, eq=False)
class GaussianConsistency:
    """The exact consistency function of N(mean, std^2 I): where a student should end.

    f(x, t) = mean + std (x - cos t mean) / sqrt(v), v = std^2 cos^2 t + sin^2 t, and
    F = (cos t x - f) / sin t = (x - cos t mean) sin t (cos^2 t - std^2 (1 + cos^2 t))
    / (sqrt(v) (cos t sqrt(v) + std)) - sin t mean. With tensors for mean and std it is a student of
    two parameters.
    """

    mean: Number
    std: Number

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0 from samples (B, ...) and times (B,)."""
        cos_t, sin_t, variance, centred = _moments(self.mean, self.std, x_t, t_B)
        root = variance.sqrt()
        slope = (
            sin_t * (cos_t**2 - self.std**2 * (1 + cos_t**2)) / (root * (cos_t * root + self.std))
        )
        return Prediction(
            slope * centred - sin_t * self.mean, self.mean + self.std * centred / root
        )


@dataclass(frozen=True, slots=True, eq=False)
class GaussianMeanFlow:
    """The exact average velocity of N(mean, std^2 I): where a MeanFlow student should end.

    In rectified-flow times t and s, with w(t) = std^2 (1 - t)^2 + t^2 and
    z = (x_rf - (1 - t) mean) / sqrt(w(t)): u = ((t + s)(1 + std^2) - 2 std^2)
    / (sqrt(w(t)) + sqrt(w(s))) z - mean. Without an end time it is ``GaussianConsistency``.
    """

    mean: Number
    std: Number

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0 from samples (B, ...), times (B,) and end times (B,); None ends at 0."""
        return MeanVelocityDenoiser(self._velocity)(x_t, t_B, cond, s_B=s_B)

    def _velocity(self, x_rf: Tensor, t_rf: Tensor, cond: Any, s_rf: Tensor) -> Tensor:
        t, s = (time.reshape(-1, *[1] * (x_rf.ndim - 1)) for time in (t_rf, s_rf))
        roots = [((self.std * (1 - time)) ** 2 + time**2) ** 0.5 for time in (t, s)]
        z = (x_rf - (1 - t) * self.mean) / roots[0]
        slope = ((t + s) * (1 + self.std**2) - 2 * self.std**2) / (roots[0] + roots[1])
        return slope * z - self.mean


@dataclass(frozen=True, slots=True, eq=False)
class GaussianMixture:
    """The ideal denoiser of a mixture sum_k weight_k N(mean_k, std_k^2 I) in D dimensions.

    Attributes:
        means: (K, D).
        stds: (K,).
        weights: (K,), positive; normalised when used.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0 from samples (B, D) and times (B,).

        The predictions of the components, weighted by their responsibilities for x_t.
        """
        x_BKD = x_t[:, None].expand(-1, *self.means.shape)
        stds_K1 = self.stds[:, None]
        _, _, variance, centred = _moments(self.means, stds_K1, x_BKD, t_B)
        log_density_BK = -0.5 * (centred.square() / variance + variance.log()).sum(-1)
        share_BK1 = torch.softmax(log_density_BK + self.weights.log(), dim=1)[..., None]
        F, x0 = Gaussian(self.means, stds_K1)(x_BKD, t_B, cond)
        return Prediction((share_BK1 * F).sum(1), (share_BK1 * x0).sum(1))

    def sample(self, n: int, rng: Generator) -> Tensor:
        """Draw n samples (n, D)."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        noise = torch.randn(n, self.means.shape[1], generator=rng, dtype=self.means.dtype)
        return self.means[component] + self.stds[component, None] * noise


def _moments(mean: Number, std: Number, x_t: Tensor, t_B: Tensor) -> _Moments:
    cos_t, sin_t = trig(t_B, like=x_t)
    variance = std**2 * cos_t**2 + sin_t**2
    return _Moments(cos_t, sin_t, variance, x_t - cos_t * mean)
