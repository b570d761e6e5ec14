"""What is checked: shapes that straddle blocks, layouts, masks, and five laws of the inputs.

Shape legend: B batch, H heads, G key heads, S queries, T keys, D head size, E value size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

Law = Literal["iid", "aligned", "offset", "mean", "sharp"]
Entry = Literal["explicit", "plain", "func.jvp", "dual_level"]
Mask = Literal["none", "lengths", "boolean", "additive"]
LAWS: tuple[Law, ...] = ("iid", "aligned", "offset", "mean", "sharp")
_GUARD = 3  # rows of NaN below an input
_FAR = 2**31  # elements; the first offset that 32 bits cannot hold


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One thing to check.

    Args:
        dtype: Of all inputs.
        S: Number of queries.
        T: Number of keys.
        D: Head size.
        E: Size of the values; None for D.
        B: Batch.
        H: Heads of the queries.
        G: Heads of keys and values; fewer than H is grouped-query attention.
        law: Law of the inputs: independent normal; tangent of the queries along the queries;
            a common offset in all keys; values with a mean; sharp scores.
        entry: How the tangent is asked for; ``"plain"`` is a call without tangents.
        tangents: Which of q, k, v have one; the others' are absent, not zero.
        causal: Query i sees the keys 0..i.
        mask: Key padding by lengths, or a boolean or an additive mask.
        layout: ``"bhsd"``; ``"bshd"`` viewed as (B, H, S, D); ``"guarded"``: the rows and columns
            around every input are NaN, so that a read beyond the end is seen; ``"far"``: a batch
            stride of 2^31 elements, beyond 32-bit offsets.
        gradients: Whether gradients of all inputs are checked too.
        scale: Factor of the scores; None for the default.
    """

    dtype: torch.dtype
    S: int
    T: int
    D: int
    B: int = 1
    H: int = 1
    G: int | None = None
    E: int | None = None
    law: Law = "iid"
    entry: Entry = "explicit"
    tangents: str = "qkv"
    causal: bool = False
    mask: Mask = "none"
    layout: Literal["bhsd", "bshd", "guarded", "far"] = "guarded"
    gradients: bool = True
    scale: float | None = None

    @property
    def name(self) -> str:
        """Name the case by what it does, for tables and JUnit."""
        heads = f"H{self.H}" if self.G is None else f"H{self.H}/{self.G}"
        words = [self.entry, self.law, str(self.dtype).removeprefix("torch.")]
        size = f"D{self.D}" if self.E is None else f"D{self.D}/{self.E}"
        words += [f"B{self.B} {heads} S{self.S} T{self.T} {size}", self.layout]
        words += ["causal"] if self.causal else []
        words += [self.mask] if self.mask != "none" else []
        words += [f"tangents of {self.tangents}"] if self.tangents != "qkv" else []
        words += [f"scale {self.scale:g}"] if self.scale is not None else []
        return " ".join(words if self.gradients else [*words, "no gradients"])


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs of a case, rounded to its dtype.

    Args:
        primals: q (B, H, S, D), k (B, G, T, D) and v (B, G, T, E).
        tangents: The same shapes; zero where the case has no tangent.
        cotangents: Of output and tangent (B, H, S, E).
        attn_mask: Boolean or additive (S, T), or None.
        key_lengths: Number of keys that count, (B,), or None.
    """

    primals: tuple[Tensor, Tensor, Tensor]
    tangents: tuple[Tensor, Tensor, Tensor]
    cotangents: tuple[Tensor, Tensor]
    attn_mask: Tensor | None
    key_lengths: Tensor | None


def draw(case: Case, rng: Generator, device: str) -> Inputs:
    """Draw the inputs of a case; the generator is on the CPU, so that a seed means the same."""
    q, k, v, tq, tk, tv = _values(case, rng)
    still = [name not in case.tangents for name in "qkv"]
    tangents = [t.zero_() if s else t for t, s in zip((tq, tk, tv), still, strict=True)]
    rounded = [x.to(device, case.dtype) for x in (q, k, v, *tangents)]
    laid = _far_apart(rounded) if case.layout == "far" else [_lay(x, case) for x in rounded]
    shape = (case.B, case.H, case.S, case.E or case.D)
    cotangents = [_normal(shape, rng).to(device, case.dtype) for _ in range(2)]
    return Inputs(
        (laid[0], laid[1], laid[2]),
        (laid[3], laid[4], laid[5]),
        (cotangents[0], cotangents[1]),
        _mask(case, rng, device),
        _lengths(case, rng, device),
    )


def _values(case: Case, rng: Generator) -> list[Tensor]:
    heads = case.G or case.H
    q, tq = (_normal((case.B, case.H, case.S, case.D), rng) for _ in range(2))
    k, tk = (_normal((case.B, heads, case.T, case.D), rng) for _ in range(2))
    v, tv = (_normal((case.B, heads, case.T, case.E or case.D), rng) for _ in range(2))
    if case.law == "aligned":
        tq += 2 * q
    elif case.law == "offset":
        k += 2 * _normal((1, 1, 1, case.D), rng)
    elif case.law == "mean":
        v += 3
    elif case.law == "sharp":
        q *= 3
    return [q, k, v, tq, tk, tv]


def _normal(shape: tuple[int, ...], rng: Generator) -> Tensor:
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def _lay(x: Tensor, case: Case) -> Tensor:
    if case.layout == "bhsd":
        return x.contiguous()
    B, H, S, D = x.shape
    if case.layout == "bshd":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    # 8 more columns keep rows aligned to 16 bytes.
    room = torch.full((B, H, S + _GUARD, D + 8), torch.nan, dtype=x.dtype, device=x.device)
    room[:, :, :S, :D] = x
    return room[:, :, :S, :D]


def _far_apart(tensors: list[Tensor]) -> list[Tensor]:
    # All in one buffer: six of this size would not fit.
    size = max(x[0].numel() for x in tensors)
    room = tensors[0].new_empty(_FAR + len(tensors) * size)
    laid = []
    for place, x in enumerate(tensors):
        _, H, S, D = x.shape
        view = room.as_strided((2, H, S, D), (_FAR, S * D, D, 1), place * size)
        laid.append(view.copy_(x))
    return laid


def _mask(case: Case, rng: Generator, device: str) -> Tensor | None:
    if case.mask == "additive":
        return _normal((case.S, case.T), rng).to(device, case.dtype)
    if case.mask == "boolean":
        keep = torch.rand((case.S, case.T), generator=rng) < 0.7
        keep[:, 0] = True  # a row that sees nothing has no answer
        return keep.to(device)
    return None


def _lengths(case: Case, rng: Generator, device: str) -> Tensor | None:
    if case.mask != "lengths":
        return None
    lengths = torch.randint(1, case.T, (case.B,), generator=rng)
    lengths[0], lengths[-1] = 0, case.T
    return lengths.to(device)
