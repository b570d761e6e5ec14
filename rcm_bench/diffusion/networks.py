"""diffusers' transformers as velocities of a rectified flow, with guidance u + s (c - u).

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width,
L text tokens, D text width.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from rcm_bench.diffusion.second_time import SECOND

SecondTime = Literal["difference", "end"]
SIGMA_CONDITION = 1e-4  # noise level at which Cosmos-Predict2 sees the frames it is given


class Known(NamedTuple):
    """Latent frames that a video goes on from.

    Attributes:
        latents: Their latents (B, C, T, H, W); frames beyond the known ones are not read.
        frames: How many latent frames are known.
    """

    latents: Tensor
    frames: int


@dataclass(kw_only=True, slots=True)
class WanVelocity:
    """Wan2.1: v = net(x, 1000 t, text). Counts its evaluations per sample in ``evaluations``.

    With a second time (``difference`` or ``end``) it is the mean velocity from t to r.
    """

    net: Any
    text_BLD: Tensor
    negative_BLD: Tensor | None = None
    guidance: float = 1.0
    second_time: SecondTime | None = None
    evaluations: int = 0
    timestep_scale: float = field(default=1000.0, init=False)

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_rf: float,
        timestep: Tensor | None = None,
        *,
        end_rf: float = 0.0,
    ) -> Tensor:
        """Return the guided velocity in float32."""
        seen = _timestep(t_rf, timestep, self.timestep_scale, x_BCTHW)
        end = _second_timestep(self, t_rf, end_rf, x_BCTHW)
        second = {} if end is None else {SECOND: end}
        return _guided(self, lambda text_BLD: self._net(x_BCTHW, seen, text_BLD, second))

    def _net(
        self, x_BCTHW: Tensor, timestep_B: Tensor, text_BLD: Tensor, second: dict[str, Tensor]
    ) -> Tensor:
        v: Tensor = self.net(
            hidden_states=x_BCTHW.to(self.net.dtype),
            timestep=timestep_B,
            encoder_hidden_states=text_BLD,
            return_dict=False,
            **second,
        )[0]
        return v.float()


@dataclass(kw_only=True, slots=True)
class CosmosVelocity:
    """Cosmos-Predict2: v = net(x, t, text, padding), t in [0, 1].

    With ``known`` frames the network sees them clean, at a time near 0 of their own, and the
    prediction of them is replaced by what they are, as in diffusers' Video2World pipeline.

    With a second time (``difference`` or ``end``) it is the mean velocity from t to r; known frames
    stay where they are, so that both of their times are the one near 0.
    """

    net: Any
    text_BLD: Tensor
    size: tuple[int, int]
    negative_BLD: Tensor | None = None
    guidance: float = 1.0
    fps: int | None = None
    known: Known | None = None
    second_time: SecondTime | None = None
    evaluations: int = 0
    timestep_scale: float = field(default=1.0, init=False)

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_rf: float,
        timestep: Tensor | None = None,
        *,
        end_rf: float = 0.0,
    ) -> Tensor:
        """Return the guided velocity in float32."""
        seen = _timestep(t_rf, timestep, self.timestep_scale, x_BCTHW)
        end = _second_timestep(self, t_rf, end_rf, x_BCTHW)
        return _guided(self, lambda text_BLD: self._net(x_BCTHW, t_rf, seen, end, text_BLD))

    def _net(
        self, x: Tensor, t_rf: float, timestep_B: Tensor, end_B: Tensor | None, text_BLD: Tensor
    ) -> Tensor:
        extra: dict[str, Any] = {}
        seen, times, ends = x, timestep_B, end_B
        if self.known is not None:
            mask = torch.zeros_like(x[:, :1])
            mask[:, :, : self.known.frames] = 1
            clean = SIGMA_CONDITION / (1 + SIGMA_CONDITION)
            seen = mask * self.known.latents + (1 - mask) * x
            frame = mask[:, :, :, :1, :1]
            times = frame * clean + (1 - frame) * timestep_B.reshape(-1, 1, 1, 1, 1)
            if end_B is not None:
                still = clean if self.second_time == "end" else 0.0
                ends = frame * still + (1 - frame) * end_B.reshape(-1, 1, 1, 1, 1)
            extra = {"condition_mask": mask.to(self.net.dtype), "fps": self.fps}
        if ends is not None:
            extra[SECOND] = ends.to(self.net.dtype)
        v: Tensor = self.net(
            hidden_states=seen.to(self.net.dtype),
            timestep=times.to(self.net.dtype),
            encoder_hidden_states=text_BLD,
            padding_mask=x.new_zeros(1, 1, *self.size, dtype=self.net.dtype),
            return_dict=False,
            **extra,
        )[0].float()
        if self.known is not None:
            v = mask * (x - self.known.latents) / t_rf + (1 - mask) * v
        return v


def _timestep(t_rf: float, given: Tensor | None, scale: float, like: Tensor) -> Tensor:
    """Return one timestep per sample (B,) in float32."""
    value = t_rf * scale if given is None else float(given)
    return torch.full((len(like),), value, dtype=torch.float32, device=like.device)


def _second_timestep(
    owner: "WanVelocity | CosmosVelocity", t_rf: float, end_rf: float, like: Tensor
) -> Tensor | None:
    """Return what the second embedding sees per sample (B,); None for a network of one time."""
    if owner.second_time is None:
        return None
    end = end_rf if owner.second_time == "end" else t_rf - end_rf
    return _timestep(end, None, owner.timestep_scale, like)


def _guided(owner: "WanVelocity | CosmosVelocity", net: Any) -> Tensor:
    owner.evaluations += 1
    conditional: Tensor = net(owner.text_BLD)
    if owner.guidance == 1:
        return conditional
    assert owner.negative_BLD is not None, "guidance needs the negative prompt's embedding"
    owner.evaluations += 1
    unconditional: Tensor = net(owner.negative_BLD)
    return unconditional + owner.guidance * (conditional - unconditional)
