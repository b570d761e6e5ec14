"""bfloat16 inputs whose weights and values are multiplied in float16: closer to the truth, for any
magnitudes, and with infinities, NaN and padding as they were.

Interpreted where there is no GPU.
"""

import math
import os
from functools import partial

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

pytest.importorskip("triton", reason="Triton is not installed")

from rcm_kernels import api, budget, choice, launch
from rcm_kernels.cases import LAWS, Case, draw
from rcm_kernels.check import Candidate, check
from rcm_kernels.configurations import TABLE, Configuration, gpu_class
from rcm_kernels.golden import plain_results
from rcm_kernels.launch_scaling import scaled
from rcm_kernels.launches import counted_launches
from rcm_kernels.masking import Masking
from rcm_kernels.reference import attention_with_tangent_reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() == INTERPRETED, reason="TRITON_INTERPRET contradicts the device"
)
BF16, FP16 = torch.bfloat16, torch.float16
BLOCKS = Configuration(block_m=32, block_n=64, num_warps=4, num_stages=1)


def forward(primals, tangents, products, *, dtype=torch.float32, **how):
    how = {"scale": primals[0].shape[3] ** -0.5, "is_causal": False, **how}
    return launch.forward(
        tuple(primals), tuple(tangents), configuration=BLOCKS, products=products, out_dtype=dtype,
        **how,
    )  # fmt: skip


def case_of(**changed):
    """A case with (S, T, D) = (32, 130, 32) where ``changed`` says nothing else."""
    sizes = {"S": 32, "T": 130, "D": 32, "gradients": False, **changed}
    return Case(dtype=BF16, **sizes)


def error(got, truth):
    norm = truth.double().norm() or 1.0
    return ((got.double() - truth).norm() / norm).item()


@pytest.mark.parametrize("law", LAWS)
def test_the_excess_over_rounding_stays_under_1_2e_3(rng, law):
    """The contract; products in bfloat16 exceed it. In float32 the error is an eighth."""
    case = case_of(law=law, T=512, D=64, layout="bshd")
    inputs = draw(case, rng, DEVICE)
    truth = plain_results(case, inputs, torch.float64)["tangent"]
    x = inputs.primals, inputs.tangents
    excess = budget.excess_over_rounding(forward(*x, FP16, dtype=BF16).tangent, truth)
    errors = [error(forward(*x, products).tangent, truth) for products in (FP16, BF16)]
    print(f"{law}: excess {excess:.2e}, in float32 {errors[0]:.2e} and {errors[1]:.2e}")
    assert excess < 1.2e-3
    assert errors[0] < errors[1] / 5


def outlier_channel(q, k, v, tq, tk, tv):
    v[..., 3] *= 1e4


def dominating_key(q, k, v, tq, tk, tv):
    k[:, :, 100] = 3 * q[:, :, 0]


def last_key_wins(q, k, v, tq, tk, tv):
    k[:, :, -1] = 3 * q[:, :, 0]
    q.copy_(q[:, :, :1] + 0.3 * q)


def times(**factors):
    def change(q, k, v, tq, tk, tv):
        for name, x in {"q": q, "k": k, "v": v, "tq": tq, "tk": tk, "tv": tv}.items():
            x *= factors.get(name, 1.0)

    return change


HOSTILE = {
    "a channel of V 1e4 times the others": outlier_channel,
    "one key takes the first row's weight": dominating_key,
    "the last key takes every row's weight": last_key_wins,
    "flat scores": times(q=1e-3),
    "tangents of 1e4": times(tq=1e4, tk=1e4, tv=1e4),
    "tangents of 1e-6": times(tq=1e-6, tk=1e-6, tv=1e-6),
    "tangents of 1e20": times(tq=1e20, tk=1e20, tv=1e20),
    "values of 1e-20": times(v=1e-20),
    "a tangent of the values of 1e-12": times(tv=1e-12),
    "a tangent of the values of 1e12": times(tv=1e12),
    "no tangent but the values'": times(tq=0, tk=0),
    "a tangent of the values of zero": times(tv=0),
    "tangents of zero": times(tq=0, tk=0, tv=0),
    "values of zero": times(v=0),
    "everything zero": times(q=0, k=0, v=0, tq=0, tk=0, tv=0),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_magnitudes_do_not_matter(rng, name):
    """No error is larger than that of products in bfloat16, or than float16's own rounding."""
    case = case_of(layout="bhsd")
    inputs = draw(case, rng, DEVICE)
    HOSTILE[name](*inputs.primals, *inputs.tangents)
    truth = plain_results(case, inputs, torch.float64)
    wide, narrow = (forward(inputs.primals, inputs.tangents, p) for p in (BF16, FP16))
    for quantity in ("output", "tangent"):
        allowed = max(error(getattr(wide, quantity), truth[quantity]), 2**-11)
        assert error(getattr(narrow, quantity), truth[quantity]) <= allowed
    torch.testing.assert_close(narrow.lse, wide.lse, rtol=1e-3, atol=2e-3)


def test_scores_of_ten_million_do_not_overflow(rng):
    """The highest score is rounded to whole numbers there, and weights beyond 1 with it."""
    q, k = (torch.randn(1, 1, n, 64, generator=rng) * 2500 for n in (32, 70))
    rest = [torch.randn(1, 1, n, 64, generator=rng) for n in (70, 32, 70, 70)]
    q, k, v, tq, tk, tv = (x.to(BF16).to(DEVICE) for x in (q, k, *rest))
    wide, narrow = (forward((q, k, v), (tq, tk, tv), p) for p in (BF16, FP16))
    assert wide.lse.max() > 2**23
    torch.testing.assert_close(narrow.lse, wide.lse)
    assert narrow.output.isfinite().all() and narrow.tangent.isfinite().all()
    torch.testing.assert_close(narrow.output, wide.output, rtol=0.05, atol=0.05)


def test_the_bound_is_met_and_nothing_overflows(rng):
    """The first keys' tangents, which the centre is, and the later ones' are as far as can be."""
    one = torch.randint(0, 2, (128,), generator=rng).to(BF16).to(DEVICE) * 2 - 1
    one = one * 3.984375  # the last bfloat16 before 4
    k, v = (one.expand(1, 1, 128, 128).clone() for _ in range(2))
    k[:, :, 64:] *= -1
    v[:, :, ::3] *= -1
    tangents = (k[:, :, :32], torch.zeros_like(k), torch.zeros_like(k))
    primals = (torch.zeros_like(tangents[0]), k, v)
    got = forward(primals, tangents, FP16).tangent
    wide = [tuple(x.double() for x in part) for part in (primals, tangents)]
    truth = attention_with_tangent_reference(*wide, Masking(None, None), 128**-0.5).tangent
    assert error(got, truth) < 2**-11


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, behind the interpreter
@pytest.mark.parametrize("which", range(6))
def test_infinities_and_nan_come_out_where_they_did(rng, which):
    """And only there: the other numbers are as right as without."""
    inputs = draw(case_of(S=20, T=70, B=2, H=2, G=2, layout="bhsd"), rng, DEVICE)
    tensors = [*inputs.primals, *inputs.tangents]
    tensors[which][0, 0, 5, 3] = math.inf
    tensors[which][1, 0, 5, 3] = math.nan
    wide, narrow = (forward(tensors[:3], tensors[3:], p) for p in (BF16, FP16))
    for got, expected in zip(narrow, wide, strict=True):
        finite = expected.isfinite()
        assert torch.equal(got.isfinite(), finite)
        assert finite[:, 1].all()  # the other head
        assert error(got[finite], expected[finite].double()) < 1e-2


@pytest.mark.parametrize("causal", [False, True])
def test_padding_does_not_count(rng, causal):
    """Whatever lies beyond a length, however large, no bit of the result depends on it."""
    inputs = draw(case_of(B=3, layout="bhsd"), rng, DEVICE)
    lengths = torch.tensor([0, 33, 130], device=DEVICE)
    results = []
    for filler in (0.0, 1e30):
        for x in (*inputs.primals[1:], *inputs.tangents[1:]):
            for row, length in enumerate(lengths.tolist()):
                x[row, :, length:] = filler
        how = {"key_lengths": lengths, "is_causal": causal}
        results.append(forward(inputs.primals, inputs.tangents, FP16, **how))
    torch.testing.assert_close(tuple(results[0]), tuple(results[1]), rtol=0, atol=0)


def test_every_group_has_its_own_scale(rng):
    case = case_of(S=20, T=70, B=2, H=4, G=2, layout="bhsd")
    inputs = draw(case, rng, DEVICE)
    for x in (*inputs.primals[2:], *inputs.tangents):
        first = x.shape[1] // 2
        x[0, :first] *= 1e9
        x[1, first:] *= 1e-9
    truth = plain_results(case, inputs, torch.float64)["tangent"]
    got = forward(inputs.primals, inputs.tangents, FP16).tangent
    for batch in range(2):
        for head in range(4):
            assert error(got[batch, head], truth[batch, head]) < 5e-4


def test_the_values_are_exact_and_within_their_bounds(rng):
    """For magnitudes from 1e-10 to 1e10, each input its own; every other draw reaches the bound.

    Beyond, the tangent itself leaves float32's range, and then its factor stops at 2^126.
    """
    for number in range(20):
        inputs = draw(case_of(S=20, T=30, layout="guarded"), rng, DEVICE)
        if number % 2:
            for x in (*inputs.primals, *inputs.tangents):
                x.fill_(1.0)
        sizes = (10 ** (20 * torch.rand(6, generator=rng) - 10)).tolist()
        q, k, v, tq, tk, tv = (
            x * size for x, size in zip((*inputs.primals, *inputs.tangents), sizes, strict=True)
        )
        primals, tangents, factors = scaled((q, k, v), (tq, tk, tv), 0.3, None)
        value_factor, tangent_factor = factors[0, 0].double()
        assert math.frexp(value_factor)[0] == math.frexp(tangent_factor)[0] == 0.5
        moved = 0.3 * (tq.double() @ k.double().mT + q.double() @ tk.double().mT)
        assert 2 * moved.abs().max() <= tangent_factor
        assert primals[2].abs().max() < 2**15 and tangents[2].abs().max() < 2**15
        large = v.abs() > 1e-3 * v.abs().max()
        assert torch.equal((primals[2].double() * value_factor)[large], v.double()[large])


FUNCTIONS = (api.attention, api.attention_with_tangent)
CASES = [
    Case(dtype=BF16, S=33, T=65, D=32, H=4, G=2),
    Case(dtype=BF16, S=40, T=40, D=64, causal=True, layout="bshd"),
    Case(dtype=BF16, S=20, T=130, D=40, E=24, B=3, mask="lengths"),
    *(Case(dtype=BF16, S=17, T=33, D=32, entry="func.jvp", tangents=x) for x in "qkv"),
]


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_outputs_and_gradients_are_within_the_budget(rng, monkeypatch, case):
    monkeypatch.setattr(choice, "FLOAT16_PRODUCTS", frozenset([gpu_class(torch.device(DEVICE))]))
    monkeypatch.setattr(choice, "_FEWEST_KEYS", 1)
    monkeypatch.setattr(choice, "_HEAD_SIZES", range(257))
    candidate = Candidate("float16 products", *(partial(f, impl="triton") for f in FUNCTIONS))
    with counted_launches() as launched:
        (result,) = check(candidate, [case], rng, DEVICE)
    assert {"find_exponents", "scale_values"} <= set(launched)
    assert result.passed, (result.raised, [row for row in result.rows if not row.passed])


def test_the_check_asks_more_of_them(rng, monkeypatch):
    case = Case(dtype=BF16, S=4, T=40000, D=128, gradients=False)
    candidate = Candidate("reference", *(partial(f, impl="reference") for f in FUNCTIONS))
    for kinds, most in (((), 2.1e-3), (("interpreter",), 1.2e-3)):
        monkeypatch.setattr(choice, "FLOAT16_PRODUCTS", frozenset(kinds))
        monkeypatch.setattr(choice, "gpu_class", lambda device: "interpreter")
        (result,) = check(candidate, [case], rng, "cpu")
        (row,) = [row for row in result.rows if row.norm == "excess over rounding"]
        assert row.budget == most and row.passed


def test_who_gets_them(monkeypatch):
    """On Hopper GPUs, where they were measured: long keys of size 65 to 128, bfloat16, moving."""

    def chosen(dtype=BF16, num_keys=4096, size=128, moving=True):
        x = torch.empty(1, 1, num_keys, size, dtype=dtype, device="meta")
        return choice.products(x, x, moving=moving)

    for kind in {kind for kind, _, _ in TABLE}:
        monkeypatch.setattr(choice, "gpu_class", lambda device, kind=kind: kind)
        assert chosen() == chosen(size=65) == (FP16 if kind == "hopper" else BF16)
        assert {chosen(num_keys=4095), chosen(moving=False), chosen(size=64), chosen(size=129)} == {
            BF16
        }
        assert chosen(dtype=torch.float32) == torch.float32 and chosen(dtype=FP16) == FP16
