"""The table of cases: what is checked where."""

from dataclasses import replace

import torch

from rcm_kernels.cases import LAWS, Case, Entry, Mask

# On a CPU the interpreter runs the Triton path: its bf16 products are wrong without a word, and it
# takes a tenth of a second for what a GPU does in microseconds.
INTERPRETER_LACKS = "bfloat16 (the interpreter multiplies it wrongly), long sequences"


def cases_for(device: str, impl: str) -> list[Case]:
    """Return the cases that an implementation is checked on.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        impl: ``"reference"`` or ``"triton"``; only the reference reads an ``attn_mask``.
    """
    half = torch.float16 if device == "cpu" and impl == "triton" else torch.bfloat16
    if device == "cpu":
        cases = [*_laws(half, 65, 130, 64), *_shapes(half), *_ways(half), *_masks(half)]
    else:
        cases = [*_laws(half, 256, 4096, 128), *_shapes(half), *_ways(half), *_masks(half)]
        cases += _long()
    return cases if impl == "triton" else [*cases, *_attn_masks()]


def _laws(half: torch.dtype, S: int, T: int, D: int) -> list[Case]:
    """Five laws of the inputs, laid out as a transformer has them."""
    return [
        Case(dtype=dtype, S=S, T=T, D=D, law=law, layout="bshd")
        for dtype in (half, torch.float32)
        for law in LAWS
    ]


def _shapes(half: torch.dtype) -> list[Case]:
    """Lengths around blocks of 16, 64 and 128, head sizes 16 to 256, values of another size.

    One key alone is left out: its gradients are zero, and rounding then has nothing to be held to.
    """
    full = torch.float32
    return [
        Case(dtype=full, S=1, T=7, D=16, B=2),
        Case(dtype=half, S=17, T=2, D=32, B=2),
        Case(dtype=half, S=63, T=64, D=64),
        Case(dtype=full, S=64, T=63, D=64, B=2, H=2),
        Case(dtype=half, S=64, T=65, D=96),
        Case(dtype=full, S=65, T=33, D=96),
        Case(dtype=half, S=130, T=127, D=128),
        Case(dtype=half, S=129, T=66, D=40, E=72),
        Case(dtype=full, S=34, T=130, D=80, E=16),
        Case(dtype=half, S=16, T=129, D=256),
        Case(dtype=half, S=17, T=17, D=32, causal=True),
        Case(dtype=full, S=65, T=65, D=64, causal=True),
        Case(dtype=half, S=130, T=130, D=128, causal=True, layout="bshd"),
        Case(dtype=full, S=40, T=70, D=32, causal=True),
        Case(dtype=full, S=70, T=40, D=32, causal=True),
        Case(dtype=half, S=64, T=64, D=64, scale=0.3),
    ]


def _ways(half: torch.dtype) -> list[Case]:
    """Every way to ask for tangents, on subsets of the inputs, and plain calls."""
    entries: tuple[Entry, ...] = ("explicit", "func.jvp", "dual_level")
    asked = [
        Case(dtype=torch.float32, S=17, T=33, D=32, entry=entry, tangents=names, layout="bhsd")
        for entry in entries
        for names in ("qkv", "q", "k", "v")
    ]
    plain = [
        Case(dtype=dtype, S=65, T=66, D=64, entry="plain", causal=causal)
        for dtype, causal in ((half, False), (torch.float32, False), (torch.float32, True))
    ]
    alone = [Case(dtype=half, S=33, T=34, D=64, entry=entry, gradients=False) for entry in entries]
    return [*asked, *plain, *alone]


def _masks(half: torch.dtype) -> list[Case]:
    """Grouped-query heads, and key lengths within, at and beyond a block, and zero."""
    grouped = [
        Case(dtype=dtype, S=33, T=65, D=32, H=4, G=2, causal=causal)
        for dtype, causal in ((half, False), (torch.float32, True))
    ]
    padded = Case(dtype=half, S=20, T=130, D=32, B=3, mask="lengths")
    return [*grouped, padded, replace(padded, dtype=torch.float32, entry="plain")]


def _attn_masks() -> list[Case]:
    kinds: tuple[Mask, ...] = ("boolean", "additive")
    entries: tuple[Entry, ...] = ("explicit", "plain")
    return [
        Case(dtype=torch.float32, S=17, T=33, D=32, H=2, mask=kind, entry=entry)
        for kind in kinds
        for entry in entries
    ]


def _long() -> list[Case]:
    """Return what only a GPU is quick enough for: real lengths, and offsets beyond 32 bits."""
    half = torch.bfloat16
    return [
        Case(dtype=torch.float16, S=1000, T=999, D=128, H=2),
        Case(dtype=half, S=1000, T=1000, D=128, H=2, causal=True),
        Case(dtype=half, S=2049, T=515, D=64, H=2),
        Case(dtype=half, S=4096, T=4096, D=128, H=2, layout="bshd"),
        Case(dtype=half, S=300, T=1025, D=256),
        Case(dtype=half, S=128, T=128, D=128, B=2, layout="far"),
    ]
