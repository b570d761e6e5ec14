"""What an objective is given, what it returns, and what the trainer may ask of it."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser

Phase = Literal["student", "critic"]


class Batch(NamedTuple):
    """Data of one iteration.

    ``x0`` is (B, ...) or None for methods without data; ``cond`` and ``uncond`` are per sample and
    of one structure; ``shape`` is the shape of a batch of samples. ``clock`` is the step as a
    scalar on the device, for what changes from iteration to iteration of the same work; None: the
    host's is used.
    """

    x0: Tensor | None
    cond: Any
    uncond: Any
    shape: tuple[int, ...]
    clock: Tensor | None = None


class LossTerms(NamedTuple):
    """A loss to differentiate, its parts to log, and how many samples were left out of it.

    ``terms`` are detached scalars. ``nonfinite`` counts (int64, on the device) the samples whose
    error was not finite; they take no part in ``total``, and whoever trains decides how many are
    too many. ``parts`` are the weighted terms that ``total`` is the sum of, to differentiate one by
    one, where there are several.
    """

    total: Tensor
    terms: dict[str, Tensor]
    nonfinite: Tensor
    parts: Mapping[str, Tensor] = MappingProxyType({})


class Objective(Protocol):
    """A training method: hyperparameters in a frozen dataclass, mathematics in ``__call__``.

    ``rng`` is on the batch's device. ``step`` counts iterations of both phases from 0; everything
    that depends on it is decided on the host, without waiting for the device.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Return which of "data", "teacher", "critic" and further parts of networks it uses.

        ``"end_time"`` asks for a student that is told where its jump ends (``s_B``),
        ``"discriminator"`` for a critic with ``logits``, ``"log_weight"`` for a student with a
        ``log_weight`` over time.
        """
        ...

    def phase(self, step: int) -> Phase:
        """Return who learns in an iteration."""
        ...

    def variant(self, step: int) -> Hashable:
        """Return all that is decided on the host in an iteration; equal ones are the same work."""
        ...

    def __call__(
        self,
        student: Denoiser,
        teacher: Denoiser | None,
        critic: Denoiser | None,
        batch: Batch,
        *,
        rng: Generator,
        step: int,
    ) -> LossTerms:
        """Return the student's loss."""
        ...

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Return the critic's loss; raises ValueError for a method without a critic."""
        ...


def data_of(batch: Batch) -> Tensor:
    """Return x0 of a batch.

    Raises:
        ValueError: The batch has no data.
    """
    if batch.x0 is None:
        raise ValueError("this method learns from data: batch.x0 must be a tensor, got None")
    return batch.x0.to(torch.promote_types(batch.x0.dtype, torch.float32))


def noise_for(batch: Batch, rng: Generator) -> Tensor:
    """Draw standard normal noise of the batch's shape on the generator's device.

    The dtype is that of x0, at least float32; PyTorch's default dtype where there is no x0.
    """
    dtype = torch.get_default_dtype() if batch.x0 is None else batch.x0.dtype
    dtype = torch.promote_types(dtype, torch.float32)
    return torch.randn(batch.shape, generator=rng, device=rng.device, dtype=dtype)


def required(denoiser: Denoiser | None, role: str) -> Denoiser:
    """Return the denoiser of a role.

    Raises:
        ValueError: There is none.
    """
    if denoiser is None:
        raise ValueError(f"this method needs a {role}, got None")
    return denoiser
