"""The samplers: rCM's stochastic one, MeanFlow, Euler, diffusers' schedulers; rectified flows.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from rcm_bench.diffusion.grids import Sampler, rf_times
from rcm_bench.suite import EulerSampler, MeanflowSampler, RcmSampler, SchedulerSampler


class Velocity(Protocol):
    """A network with its condition and guidance: (x_rf, t_rf) -> v, all samples at one time.

    ``timestep`` is what the network's time embedding sees; by default t_rf at its scale. Networks
    of mean velocities are told ``end_rf`` too, where the jump ends; by default at 0.
    """

    timestep_scale: float

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_rf: float,
        timestep: Tensor | None = None,
        *,
        end_rf: float = 0.0,
    ) -> Tensor:  # float32
        """Return the velocity eps - x0 in float32."""
        ...


@torch.no_grad()
def sample(
    sampler: Sampler,
    velocity: Velocity,
    noise_BCTHW: Tensor,
    rngs: Sequence[Generator],
    steps: int,
    scheduler: "Callable[[], Any] | None" = None,
) -> Tensor:
    """Sample latents.

    Args:
        sampler: The suite's sampler.
        velocity: The network.
        noise_BCTHW: Standard normal noise in float32.
        rngs: One CPU generator per sample, for fresh noise; already used for ``noise_BCTHW``.
        steps: Number of steps.
        scheduler: Makes the scheduler of samplers that use one of diffusers.

    Returns:
        Latents (B, C, T, H, W) in float32.
    """
    if isinstance(sampler, RcmSampler):
        return rcm(sampler, velocity, noise_BCTHW, rngs, steps)
    if isinstance(sampler, MeanflowSampler):
        return meanflow(sampler, velocity, noise_BCTHW, rngs, steps)
    if isinstance(sampler, EulerSampler):
        return euler(sampler, velocity, noise_BCTHW, steps)
    assert scheduler is not None, "UniPC and a pipeline's own scheduler come from diffusers"
    solver = scheduler()
    if isinstance(sampler, SchedulerSampler) and _is_edm(solver):
        return edm_scheduler(solver, velocity, noise_BCTHW, steps)
    return flow_scheduler(solver, velocity, noise_BCTHW, steps)


def rcm(
    sampler: RcmSampler,
    velocity: Velocity,
    noise_BCTHW: Tensor,
    rngs: Sequence[Generator],
    steps: int,
) -> Tensor:
    """Predict x0, add noise, repeat: x <- (1 - t') (x - t v) + t' eps.

    In TrigFlow this is x_t' = cos t' x0 + sin t' eps. The state is float64 and fresh noise is
    float32, as in the inference script of NVlabs/rcm (5b41aa9); noise is drawn on the CPU, one
    generator per sample, where the script draws on the GPU for the whole batch.

    With ``sample_type: ode`` eps is the noise that the prediction finds in the state, (x - (1 - t)
    x0) / t: NVlabs/FastGen's (34f30e8), whose "sde" is the default here.
    """
    times = rf_times(sampler, steps)
    x = noise_BCTHW.double()
    if sampler.start == "scaled":
        x = x * times[0]
    else:  # x_t = eps in TrigFlow, so that x_rf = eps / (cos t + sin t), with sigma = tan t
        x = x * (1 + sampler.sigma_max**2) ** 0.5 / (1 + sampler.sigma_max)
    for t, t_next in zip(times, times[1:], strict=False):
        timestep = torch.tensor(t, dtype=torch.float64).float() * velocity.timestep_scale
        timestep = timestep.to(getattr(torch, sampler.timestep_dtype)).float()
        x0 = x - t * velocity(x.float(), t, timestep).double()
        if t_next == 0:
            return x0.float()
        noise = _fresh(x, rngs) if sampler.sample_type == "sde" else (x - (1 - t) * x0) / t
        x = (1 - t_next) * x0 + t_next * noise
    raise AssertionError("a checked grid ends at 0")


def meanflow(
    sampler: MeanflowSampler,
    velocity: Velocity,
    noise_BCTHW: Tensor,
    rngs: Sequence[Generator],
    steps: int,
) -> Tensor:
    """Jump x <- x - (t - r) u(x, t, r) (Geng et al. 2025, 2505.13447, algorithm 2).

    The first state is noise times its time, as in NVlabs/FastGen (34f30e8); the state is float64.
    Its "sde" jumps to 0 each time and adds fresh noise: x <- (1 - r) (x - t u(x, t, 0)) + r eps.
    """
    times = rf_times(sampler, steps)
    x = noise_BCTHW.double() * times[0]
    for t, r in zip(times, times[1:], strict=False):
        end = r if sampler.sample_type == "ode" else 0.0
        x = x - (t - end) * velocity(x.float(), t, end_rf=end).double()
        if r > end:
            x = (1 - r) * x + r * _fresh(x, rngs)
    return x.float()


def drawn(rngs: Sequence[Generator], shape: Sequence[int], device: str | torch.device) -> Tensor:
    """Draw standard normal noise (B, *shape) on the CPU in float32, one generator per sample."""
    return torch.stack([torch.randn(shape, generator=rng).to(device) for rng in rngs])


def _fresh(x_BCTHW: Tensor, rngs: Sequence[Generator]) -> Tensor:
    return drawn(rngs, x_BCTHW.shape[1:], x_BCTHW.device).double()


def euler(sampler: EulerSampler, velocity: Velocity, noise_BCTHW: Tensor, steps: int) -> Tensor:
    """Integrate dx/dt = v from t = 1 to 0: x <- x + (t' - t) v."""
    times = rf_times(sampler, steps)
    x = noise_BCTHW.double() * times[0]
    for t, t_next in zip(times, times[1:], strict=False):
        x = x + (t_next - t) * velocity(x.float(), t).double()
    return x.float()


def flow_scheduler(scheduler: Any, velocity: Velocity, noise_BCTHW: Tensor, steps: int) -> Tensor:
    """Run a flow-matching scheduler of diffusers as its Wan pipeline does."""
    scheduler.set_timesteps(steps, device=noise_BCTHW.device)
    scheduler.set_begin_index(0)
    x = noise_BCTHW
    for index, timestep in enumerate(scheduler.timesteps):
        t = float(scheduler.sigmas[index])
        seen = timestep.float() * (velocity.timestep_scale / 1000.0)
        x = scheduler.step(velocity(x, t, seen), timestep, x, return_dict=False)[0]
    return x.float()


def edm_scheduler(scheduler: Any, velocity: Velocity, noise_BCTHW: Tensor, steps: int) -> Tensor:
    """Run an EDM grid of noise levels as diffusers' Cosmos-Predict2 pipelines do.

    The state is x0 + sigma eps, t_rf = sigma / (1 + sigma); the last level is the one before it
    again, so that the last step leaves the state where it is.
    """
    grid = torch.linspace(0, 1, steps, dtype=torch.float64)
    scheduler.set_timesteps(sigmas=grid, device=noise_BCTHW.device)
    if scheduler.config.get("final_sigmas_type", "zero") == "sigma_min":
        scheduler.sigmas[-1] = scheduler.sigmas[-2]
    x = noise_BCTHW * scheduler.config.sigma_max
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[index])
        t = sigma / (1 + sigma)
        x0 = (1 - t) * x - t * velocity(x * (1 - t), t)
        x = scheduler.step((x - x0) / sigma, timestep, x, return_dict=False)[0]
    return torch.as_tensor(x, dtype=torch.float32)


def _is_edm(scheduler: Any) -> bool:
    """Tell an EDM grid: the only one whose largest noise level lies above 1."""
    return float(scheduler.config.get("sigma_max") or 0) > 1
