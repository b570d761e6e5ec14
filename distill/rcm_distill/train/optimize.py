"""A network with its optimiser and its averages: what one loss updates."""

import copy
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rcm_distill.ema import Averages, Law
from rcm_distill.nets.dit import DiT
from rcm_distill.train.lowered import Lowered
from rcm_distill.train.networks import TrainingDenoiser, training_denoiser
from rcm_distill.train.recipe import Optimizer, Recipe
from rcm_distill.train.state import flatten_optimizer, restore_optimizer


@dataclass(kw_only=True, slots=True)
class Optimized:
    """A trained network: student or critic."""

    net: DiT
    denoiser: TrainingDenoiser
    settings: Optimizer
    optimizer: torch.optim.AdamW
    ema: Averages | None
    lowered: Lowered | None
    updates: int = 0

    @classmethod
    def trained(
        cls,
        source: DiT,
        settings: Optimizer,
        laws: tuple[Law | float, ...],
        recipe: Recipe,
        *,
        compiled: bool,
    ) -> Self:
        """Copy a network and give it an optimiser and averages."""
        net = copy.deepcopy(source).requires_grad_(True)
        lowered = Lowered.where_it_pays(net, recipe.precision)
        on_gpu = next(net.parameters()).is_cuda
        # A rate on the device can change between replays of a graph.
        rate = torch.tensor(settings.lr, device="cuda") if on_gpu else settings.lr
        optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        return cls(
            net=net,
            denoiser=training_denoiser(
                net,
                recipe.precision,
                compiled=compiled,
                end_time=net.config.end_time,
                lowered=lowered.net if lowered else None,
            ),
            settings=settings,
            optimizer=optimizer,
            ema=Averages(list(net.parameters()), laws) if laws else None,
            lowered=lowered,
        )

    def set_rate(self, step: int, steps: int) -> None:
        """Set the learning rate for iteration ``step`` of ``steps``."""
        rate = learning_rate(self.settings, self.updates, step, steps)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def leaves(self) -> list[Tensor]:
        """Return the parameters that a loss is a function of: those of the network that ran."""
        return list((self.lowered or self).net.parameters())

    def collect(self) -> None:
        """Bring the gradients of a backward pass to the parameters that are stepped."""
        if self.lowered:
            self.lowered.collect()

    def descend(self) -> None:
        """Take one step on the gradients; all of it runs on the device and can be captured."""
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip)
        self.optimizer.step()
        if self.lowered:
            self.lowered.refresh()

    def count(self) -> None:
        """Count an update and take it into the averages."""
        self.updates += 1
        if self.ema:
            self.ema.update(self.updates)

    def averaged(self) -> dict[str, Tensor]:
        """Return the state dict with the parameters of the first average, or the raw ones."""
        whole = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        if self.ema and self.updates:
            names = [name for name, _ in self.net.named_parameters()]
            whole |= dict(zip(names, self.ema.averages[0], strict=True))
        return whole

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Name everything that a resume needs."""
        tensors = {f"{prefix}.net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= flatten_optimizer(f"{prefix}.optimizer", self.optimizer)
        if self.ema:
            for i, average in enumerate(self.ema.averages):
                tensors |= {f"{prefix}.ema.{i}.{j}": t for j, t in enumerate(average)}
        return tensors

    def restore(self, prefix: str, tensors: dict[str, Tensor], updates: int) -> None:
        """Put back what ``state`` named."""
        head = f"{prefix}.net."
        self.net.load_state_dict(
            {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
        )
        if self.lowered:
            self.lowered.refresh()
        restore_optimizer(f"{prefix}.optimizer", self.optimizer, tensors)
        if self.ema:
            for i, average in enumerate(self.ema.averages):
                for j, tensor in enumerate(average):
                    tensor.copy_(tensors[f"{prefix}.ema.{i}.{j}"])
        self.updates = updates


def learning_rate(settings: Optimizer, updates: int, step: int, steps: int) -> float:
    """Linear warm-up over ``updates``, then constant or a cosine over the recipe's ``steps``."""
    warm = min(1.0, (updates + 1) / max(1, settings.warmup))
    if settings.decay == "constant":
        return settings.lr * warm
    return settings.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
