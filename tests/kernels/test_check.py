"""The check sees what it should see: errors, lost tangents, unwritten memory, reads too far."""

import pytest
import torch

from rcm_kernels import attention, attention_with_tangent
from rcm_kernels.case_table import cases_for
from rcm_kernels.cases import LAWS, Case, draw
from rcm_kernels.check import Candidate, check, poisoned_memory
from rcm_kernels.golden import plain_results

SMALL = Case(dtype=torch.float32, S=9, T=13, D=16, H=2)


def run(case, rng, attend=attention, explicit=attention_with_tangent):
    (result,) = check(Candidate("tested", attend, explicit), [case], rng, "cpu")
    return result


def test_a_good_path_passes_and_every_number_is_there(rng):
    result = run(SMALL, rng)
    assert result.passed and not result.failed
    inputs = ["query", "key", "value", "query tangent", "key tangent", "value tangent"]
    quantities = ["output", "tangent", *(f"gradient of {name}" for name in inputs)]
    expected = {(q, norm) for q in quantities for norm in ("maximum", "frobenius")}
    assert {(row.quantity, row.norm) for row in result.rows} == expected
    assert result.worst in result.rows


@pytest.mark.parametrize("order", [0, 7])
@pytest.mark.parametrize("mask", ["none", "lengths", "boolean", "additive"])
def test_the_truth_agrees_with_pytorch(rng, mask, order):
    """Against scaled_dot_product_attention and a central difference of it, in fp64."""
    case = Case(dtype=torch.float64, S=9, T=13, D=16, E=20, B=3, H=4, G=2, mask=mask, scale=0.3)
    inputs = draw(case, rng, "cpu")
    seen = inputs.attn_mask
    if mask == "lengths":
        seen = (torch.arange(13) < inputs.key_lengths[:, None])[:, None, None]

    def attend(*primals):
        return torch.nn.functional.scaled_dot_product_attention(
            *primals, attn_mask=seen, scale=0.3, enable_gqa=True
        )

    found = plain_results(case, inputs, torch.float64, order=order)
    torch.testing.assert_close(found["output"], attend(*inputs.primals), rtol=1e-11, atol=1e-12)
    h = 1e-5
    ends = [
        attend(*(p + sign * h * t for p, t in zip(inputs.primals, inputs.tangents, strict=True)))
        for sign in (1, -1)
    ]
    difference = (ends[0] - ends[1]) / (2 * h)
    torch.testing.assert_close(found["tangent"], difference, rtol=1e-6, atol=1e-6)


def test_another_order_is_the_same_mathematics_with_other_roundings(rng):
    for dtype, close in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        case = Case(dtype=dtype, S=65, T=130, D=64, causal=True)
        inputs = draw(case, rng, "cpu")
        forwards = plain_results(case, inputs, dtype)
        other = plain_results(case, inputs, dtype, order=1)
        for name, value in forwards.items():
            torch.testing.assert_close(other[name], value, rtol=close, atol=close)
            assert not torch.equal(other[name], value)


def test_a_lost_tangent_is_a_failure(rng):
    from torch.autograd import forward_ad

    def forgetful(q, k, v, **options):
        return attention(*(forward_ad.unpack_dual(x).primal for x in (q, k, v)), **options)

    case = Case(dtype=torch.float32, S=9, T=13, D=16, entry="dual_level", gradients=False)
    result = run(case, rng, attend=forgetful)
    assert result.failed
    assert result.raised == "RuntimeError: the tangent was lost: the output has none"


def test_unwritten_memory_is_seen(rng):
    def sloppy(q, k, v, *tangents, **options):
        result = attention_with_tangent(q, k, v, *tangents, **options)
        out = torch.empty_like(result.output)
        out[:, :, :-1] = result.output[:, :, :-1]
        return out, result.tangent

    plain = Case(dtype=torch.float32, S=9, T=13, D=16, gradients=False)
    result = run(plain, rng, explicit=sloppy)
    assert {row.quantity for row in result.rows if not row.passed} == {"output"}
    assert all(row.error == float("inf") for row in result.rows if not row.passed)
    with poisoned_memory():
        assert torch.empty(5).isnan().all() and torch.empty_like(torch.ones(3)).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_read_beyond_the_end_is_seen(rng):
    def further(k):
        shape = (*k.shape[:2], k.shape[2] + 1, k.shape[3])
        return k.as_strided(shape, k.stride())

    def greedy(q, k, v, tq, tk, tv, **options):
        return attention_with_tangent(
            q, further(k), further(v), tq, further(tk), further(tv), **options
        )

    case = Case(dtype=torch.float32, S=9, T=13, D=16, layout="guarded", gradients=False)
    result = run(case, rng, explicit=greedy)
    assert result.failed and all(row.error == float("inf") for row in result.rows)


def test_what_a_candidate_raises_or_lacks_is_said(rng):
    def broken(*_, **__):
        raise ZeroDivisionError("one of ours")

    def narrow(q, k, v, *, scale=None, is_causal=False):
        return attention(q, k, v, scale=scale, is_causal=is_causal)

    result = run(SMALL, rng, explicit=broken)
    assert result.failed and result.raised == "ZeroDivisionError: one of ours"
    case = Case(dtype=torch.float32, S=9, T=13, D=16, H=4, G=2, mask="lengths", entry="plain")
    result = run(case, rng, attend=narrow)
    assert result.not_run == "takes no enable_gqa and no key_lengths"
    assert not result.passed and not result.failed


def test_the_wrong_dtype_is_a_failure(rng):
    def wide(*tensors, **options):
        return tuple(x.double() for x in attention_with_tangent(*tensors, **options))

    result = run(SMALL, rng, explicit=wide)
    assert result.raised == "TypeError: output must be torch.float32, got torch.float64"


@pytest.mark.parametrize("layout", ["bhsd", "bshd", "guarded"])
@pytest.mark.parametrize("law", LAWS)
def test_layouts_hold_the_same_numbers(rng, law, layout):
    case = Case(dtype=torch.float16, S=9, T=13, D=16, B=2, H=3, law=law, layout=layout)
    state = rng.get_state()
    inputs = draw(case, rng, "cpu")
    rng.set_state(state)
    contiguous = draw(Case(dtype=torch.float16, S=9, T=13, D=16, B=2, H=3, law=law, layout="bhsd"),
                      rng, "cpu")  # fmt: skip
    for got, expected in zip(inputs.primals + inputs.tangents,
                             contiguous.primals + contiguous.tangents, strict=True):  # fmt: skip
        assert torch.equal(got, expected)
        assert got.is_contiguous() == (layout == "bhsd")


def test_the_table_covers_what_the_interface_promises():
    for impl in ("reference", "triton"):
        for device in ("cpu", "cuda"):
            table = cases_for(device, impl)
            assert len({case.name for case in table}) == len(table)
            assert {case.law for case in table} == set(LAWS)
            assert {case.entry for case in table} == {"explicit", "plain", "func.jvp", "dual_level"}
            assert {16, 32, 64, 96, 128, 256} <= {case.D for case in table}
            assert {"q", "k", "v", "qkv"} <= {case.tangents for case in table}
            assert any(case.G for case in table) and any(case.mask == "lengths" for case in table)
            assert any(case.causal and case.S != case.T for case in table)
            half = torch.float16 if (device, impl) == ("cpu", "triton") else torch.bfloat16
            assert {half, torch.float32} <= {case.dtype for case in table}
            assert (torch.bfloat16 in {c.dtype for c in table}) == (half == torch.bfloat16)
            assert (impl == "reference") == any(case.mask == "boolean" for case in table)


def test_another_path_in_its_place_is_a_failure(rng):
    candidate = Candidate("triton", attention, attention_with_tangent, launches=True)
    (result,) = check(candidate, [SMALL], rng, "cpu")
    assert result.raised == (
        "RuntimeError: launched no Triton kernel: another path ran in its place"
    )
