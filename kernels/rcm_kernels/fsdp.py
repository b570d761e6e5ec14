"""Forward mode under FSDP2 (``torch.distributed.fsdp.fully_shard``)."""

from typing import Any

from torch import Tensor


def carry_tangents() -> None:
    """Give FSDP2's hook of the backward pass a rule for forward mode, in this process.

    FSDP2 passes a module's inputs through an identity whose backward frees and reduces parameters.
    It has no forward-mode rule (torch 2.11) or one that returns its input as it is, which autograd
    refuses (2.13), so a forward pass with tangents and gradients fails. The tangent of an identity
    is the identity, as a view. Call it once, before the first forward pass; calling again is
    harmless. A forward pass without gradients needs nothing.

    Raises:
        RuntimeError: This version of PyTorch keeps the hook elsewhere.
    """
    import torch
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group as hooks

    hook = getattr(hooks, "RegisterPostBackwardFunction", None)
    if hook is None:
        raise RuntimeError(
            "FSDP2 of this PyTorch has no RegisterPostBackwardFunction, got version "
            f"{torch.__version__}; forward mode under FSDP2 is tested with 2.11 to 2.14"
        )
    hook.jvp = staticmethod(_identity)


def _identity(ctx: Any, _group: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
    return tuple(None if x is None else x.view_as(x) for x in tangents)
