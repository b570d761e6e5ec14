"""The truth that kernels are held to: softmax attention from plain operations, in any dtype.

In fp64 it is the truth; in a kernel's own dtype it is plain PyTorch, whose error sets the budget.
It shares no code with the reference path, which is itself checked.

Shape legend: B batch, H heads, G key heads, S queries, T keys, D head size, E value size.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from rcm_kernels.cases import Case, Inputs

Results = dict[str, Tensor]
NAMES = ("query", "key", "value")


def plain_results(case: Case, inputs: Inputs, dtype: torch.dtype, *, order: int = 0) -> Results:
    """Return output, tangent and gradients of plain attention computed in ``dtype``.

    Args:
        case: What is computed.
        inputs: From what.
        dtype: In which precision.
        order: Number queries, keys and features in another of many orders, 0 as they are: the same
            mathematics, other roundings.
    """
    primals = [x.detach().to(dtype).requires_grad_() for x in inputs.primals]
    tangents = [x.detach().to(dtype).requires_grad_() for x in inputs.tangents]
    cotangents = [x.to(dtype) for x in inputs.cotangents]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _attend(q, k, v, case, inputs, order)

    if case.entry == "plain":
        results, leaves = {"output": attend(*primals)}, named(primals, [])
    else:
        pair = torch.func.jvp(attend, tuple(primals), tuple(tangents))
        results, leaves = {"output": pair[0], "tangent": pair[1]}, named(primals, tangents)
    if case.gradients:
        return with_gradients(results, leaves, cotangents)
    return {name: result.detach() for name, result in results.items()}


def named(primals: list[Tensor], tangents: Sequence[Tensor | None]) -> Results:
    """Return the inputs by name, without tangents that are None."""
    found = dict(zip(NAMES, primals, strict=True))
    pairs = zip(NAMES, tangents, strict=False)
    return found | {f"{name} tangent": t for name, t in pairs if t is not None}


def with_gradients(results: Results, leaves: Results, cotangents: list[Tensor]) -> Results:
    """Add the gradients of <output, G> + <tangent, T> with respect to the leaves."""
    outputs, weights = list(results.values()), cotangents[: len(results)]
    gradients = torch.autograd.grad(outputs, list(leaves.values()), weights)
    found = {name: result.detach() for name, result in results.items()}
    pairs = zip(leaves, gradients, strict=True)
    return found | {f"gradient of {name}": gradient for name, gradient in pairs}


def _attend(
    q_BHSD: Tensor, k_BGTD: Tensor, v_BGTE: Tensor, case: Case, inputs: Inputs, order: int
) -> Tensor:
    """Compute softmax(scale Q K^T + mask) V; a query that sees no key gives zero."""
    bias_ST, seen = _mask(case, inputs, q_BHSD.device)
    repeats = case.H // (case.G or case.H)
    k_BHTD, v_BHTE = (x.repeat_interleave(repeats, dim=1) for x in (k_BGTD, v_BGTE))
    queries, keys, features = _order(case, order, q_BHSD.device)
    q_BHSD, k_BHTD = q_BHSD[:, :, queries][..., features], k_BHTD[:, :, keys][..., features]
    v_BHTE = v_BHTE[:, :, keys]
    bias_ST, seen = (_reordered(x, queries, keys) for x in (bias_ST, seen))
    scores_BHST = q_BHSD @ k_BHTD.mT * (case.D**-0.5 if case.scale is None else case.scale)
    if bias_ST is not None:
        scores_BHST = scores_BHST + bias_ST.to(scores_BHST.dtype)
    if seen is None:
        out_BHSE = torch.softmax(scores_BHST, dim=-1) @ v_BHTE
    else:
        blind = ~seen.any(-1, keepdim=True)
        probs_BHST = torch.softmax(scores_BHST.masked_fill(~(seen | blind), -torch.inf), dim=-1)
        out_BHSE = probs_BHST.masked_fill(blind, 0.0) @ v_BHTE
    return out_BHSE[:, :, queries.argsort()]


def _order(case: Case, order: int, device: torch.device) -> list[Tensor]:
    """Return the queries, keys and features of an order, by their numbers."""
    sizes = (case.S, case.T, case.D)
    if order == 0:
        return [torch.arange(size, device=device) for size in sizes]
    rng = Generator().manual_seed(order)
    return [torch.randperm(size, generator=rng).to(device) for size in sizes]


def _reordered(mask: Tensor | None, queries: Tensor, keys: Tensor) -> Tensor | None:
    """Reorder a mask (..., S or 1, T)."""
    if mask is None:
        return None
    return mask[..., keys] if mask.shape[-2] == 1 else mask[..., queries, :][..., keys]


def _mask(case: Case, inputs: Inputs, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """Return what is added to the scores (S, T) and what is seen (..., S or 1, T)."""
    keys = torch.arange(case.T, device=device)
    if case.causal:
        return None, keys <= torch.arange(case.S, device=device)[:, None]
    if inputs.key_lengths is not None:
        return None, keys < inputs.key_lengths[:, None, None, None]
    mask = inputs.attn_mask
    if mask is not None and mask.dtype == torch.bool:
        return None, mask
    return mask, None
