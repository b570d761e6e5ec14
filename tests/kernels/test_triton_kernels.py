"""The kernels themselves against fp64: budgets, distributions, head sizes, unwritten memory.

Interpreted where there is no GPU. What only a GPU can show (tensor cores' own rounding, races in
the pipeline, TMA in hardware, large tensors) is marked ``gpu``.
"""

import os
from types import SimpleNamespace

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from rcm_kernels import budget, launch, tuning
from rcm_kernels.configurations import TABLE, Configuration
from rcm_kernels.masking import Masking, masking
from rcm_kernels.reference import attention_with_tangent_reference, gradients_reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() == INTERPRETED, reason="TRITON_INTERPRET contradicts the device"
)
DISTRIBUTIONS = ("iid", "aligned", "offset", "biased", "sharp")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fill new memory with NaN: what a kernel does not write shows."""
    empty, empty_like = torch.empty, torch.empty_like

    def poison(make):
        def made(*a, **k):
            out = make(*a, **k)
            return out.fill_(torch.nan) if out.is_floating_point() else out

        return made

    monkeypatch.setattr(launch.torch, "empty", poison(empty))
    monkeypatch.setattr(launch.torch, "empty_like", poison(empty_like))


def draw(rng, dtype, *, kind="iid", b=1, h=2, g=1, s=33, t=70, d=32, e=32):
    """Return primals and tangents, rounded to ``dtype``; keys and values as (B, T, G, D) views."""
    one = lambda *shape: torch.randn(shape, generator=rng, dtype=torch.float64)  # noqa: E731
    q, tq = one(b, h, s, d), one(b, h, s, d)
    k, tk = (one(b, t, g, d).transpose(1, 2) for _ in range(2))
    v, tv = (one(b, t, g, e).transpose(1, 2) for _ in range(2))
    if kind == "aligned":
        tq = 2 * q + 0.5 * tq
    if kind == "offset":
        k = k + 2 * one(1, 1, 1, d)
    if kind == "biased":
        v = v + 3
    if kind == "sharp":
        q = 3 * q
    moved = [x.to(dtype).to(DEVICE) for x in (q, k, v, tq, tk, tv)]
    return tuple(moved[:3]), tuple(moved[3:])


BACKWARD = [name for _, name, _ in TABLE if "gradients" in name]


def blocks(m=16, n=16, *, tma=False):
    return Configuration(block_m=m, block_n=n, num_warps=4, num_stages=1, tma=tma)


def everything(primals, tangents, pulls, configuration, **how):
    """Return output, tangent and the six gradients from the kernels."""
    how = {"scale": primals[0].shape[3] ** -0.5, "is_causal": False, **how}
    result = launch.forward(primals, tangents, configuration=configuration, **how)
    both = configuration and dict.fromkeys(BACKWARD, configuration)
    grads = launch.backward(primals, tangents, result, *pulls, configurations=both, **how)
    return result.output, result.tangent, *grads


def written_out(primals, tangents, pulls, hidden):
    scale = primals[0].shape[3] ** -0.5
    result = attention_with_tangent_reference(primals, tangents, hidden, scale)
    return *result, *gradients_reference(primals, tangents, *pulls, hidden, scale)


def plain_autograd(primals, tangents, pulls, hidden, *, order=0):
    """What PyTorch gives in the dtype itself: the measure of what the dtype allows.

    ``order`` numbers keys and features otherwise, 0 as they are: the same, rounded otherwise.
    """
    leaves = [x.clone().requires_grad_() for x in (*primals, *tangents)]
    group = primals[0].shape[1] // primals[1].shape[1]
    shuffle = torch.Generator().manual_seed(order)
    keys, features = (
        torch.randperm(n, generator=shuffle).to(DEVICE) if order else torch.arange(n, device=DEVICE)
        for n in primals[1].shape[2:]
    )

    def attend(q, k, v):
        k, v = (x[:, :, keys].repeat_interleave(group, dim=1) for x in (k, v))
        q, k = q[..., features], k[..., features]
        visible = None if hidden.visible is None else hidden.visible[..., keys]
        scores = q @ k.mT * q.shape[3] ** -0.5
        if visible is not None:
            scores = scores.masked_fill(~visible, -1e4)
        weights = torch.softmax(scores, -1)
        if visible is not None:
            weights = weights * visible
        return weights @ v

    result = torch.func.jvp(attend, tuple(leaves[:3]), tuple(leaves[3:]))
    loss = sum((x.double() * p.double()).sum() for x, p in zip(result, pulls, strict=True))
    return *(x.detach() for x in result), *torch.autograd.grad(loss, leaves)


def hold_to_budget(got, primals, tangents, pulls, hidden):
    names = ("O", "tO", "dQ", "dK", "dV", "dtQ", "dtK", "dtV")
    plain = [plain_autograd(primals, tangents, pulls, hidden, order=i) for i in range(8)]
    wide = [tuple(x.double() for x in part) for part in (primals, tangents, pulls)]
    rows = zip(names, got, *plain, written_out(*wide, hidden), strict=True)
    for name, x, *own, truth in rows:
        for found in budget.compare(x, own, truth):
            assert found.passed, (name, found)


def check(rng, dtype, configuration, *, causal=False, lengths=None, **shape):
    primals, tangents = draw(rng, dtype, **shape)
    out = (*primals[0].shape[:3], primals[2].shape[3])
    pulls = tuple(torch.randn(out, generator=rng).to(dtype).to(DEVICE) for _ in range(2))
    key_lengths = None if lengths is None else torch.tensor(lengths, device=DEVICE)
    how = {"is_causal": causal, "key_lengths": key_lengths}
    hidden = masking(*primals[:2], attn_mask=None, **how)
    got = everything(primals, tangents, pulls, configuration, **how)
    hold_to_budget(got, primals, tangents, pulls, hidden)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_every_distribution_is_within_the_budget(rng, dtype, kind):
    check(rng, dtype, blocks(32, 32), kind=kind)


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "configuration"),
    [
        ({"b": 2, "h": 4, "s": 1, "t": 17, "d": 16, "e": 16}, blocks()),
        ({"s": 16, "t": 48, "d": 96, "e": 96}, blocks()),
        ({"s": 17, "t": 15, "d": 40, "e": 16}, blocks(tma=True)),
        ({"s": 65, "t": 130, "d": 64, "e": 128}, blocks(32, 64)),
        ({"s": 20, "t": 33, "d": 256, "e": 256}, blocks()),
        ({"s": 50, "t": 50, "causal": True}, blocks(32, 16)),
        ({"s": 50, "t": 50, "causal": True}, blocks(16, 32, tma=True)),
        ({"s": 70, "t": 20, "causal": True}, blocks()),
        ({"s": 20, "t": 70, "causal": True}, blocks(16, 32)),
        ({"b": 3, "h": 4, "g": 2, "lengths": [0, 33, 70]}, blocks(16, 32)),
        ({"b": 2, "h": 4, "g": 2, "lengths": [5, 48], "causal": True}, blocks(32, 16)),
    ],
    ids=str,
)
def test_shapes_that_straddle_blocks(rng, shape, configuration):
    check(rng, torch.float32, configuration, **shape)


def test_a_single_key_is_its_value(rng):
    """Scores have no influence; budgets relative to an exact zero would ask for exact zeros."""
    primals, tangents = draw(rng, torch.float32, t=1)
    pulls = tuple(torch.randn(1, 2, 33, 32, generator=rng).to(DEVICE) for _ in range(2))
    out, tangent, dq, dk, dv, dtq, dtk, dtv = everything(primals, tangents, pulls, blocks())
    torch.testing.assert_close(out, primals[2].expand_as(out))
    torch.testing.assert_close(tangent, tangents[2].expand_as(out))
    torch.testing.assert_close(dv, pulls[0].sum((1, 2)).view_as(dv))
    torch.testing.assert_close(dtv, pulls[1].sum((1, 2)).view_as(dtv))
    for still in (dq, dk, dtq, dtk):
        torch.testing.assert_close(still, torch.zeros_like(still), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_bf16_tangents_in_float32_err_by_at_most_2_1e_3(rng, kind):
    """The contract on all five; without centring and matched sums it is up to 4.5e-3.

    Sharp scores err by 1.82e-3, 64 queries of them by 0.14e-3 more or less, the others by less of
    both: heads bring that down.
    """
    heads = 8 if kind == "sharp" else 3
    primals, tangents = draw(
        rng, torch.bfloat16, kind=kind, h=heads, g=heads, s=64, t=1024, d=128, e=128
    )
    scale = 128**-0.5
    got = launch.forward(
        primals,
        tangents,
        scale=scale,
        is_causal=False,
        out_dtype=torch.float32,
        configuration=blocks(64, 64),
    )
    wide = [tuple(x.double() for x in part) for part in (primals, tangents)]
    exact = attention_with_tangent_reference(*wide, Masking(None, None), scale).tangent
    error = ((got.tangent.double() - exact).norm() / exact.norm()).item()
    print(f"{kind}: {error:.2e}")
    assert error <= 2.1e-3


def test_views_and_expanded_inputs_are_read_in_place(rng):
    primals, tangents = draw(rng, torch.float32, g=2)
    dense = [x.contiguous() for x in (*primals, *tangents)]
    how = {"scale": 0.2, "is_causal": False, "configuration": blocks()}
    got = launch.forward(primals, tangents, **how)
    expected = launch.forward(tuple(dense[:3]), tuple(dense[3:]), **how)
    torch.testing.assert_close(tuple(got), tuple(expected), rtol=0, atol=0)
    shared = primals[1][:, :1].expand(-1, 2, -1, -1)
    got = launch.forward((primals[0], shared, primals[2]), (None, None, None), **how)
    dense = launch.forward((primals[0], shared.contiguous(), primals[2]), (None,) * 3, **how)
    torch.testing.assert_close(got.output, dense.output, rtol=0, atol=0)


def test_the_table_serves_every_head_size_and_dtype():
    for (kind, kernel, _), sizes in TABLE.items():
        assert max(sizes) == 256, (kind, kernel)
        for entry in sizes.values():
            assert entry.source
            assert entry.block_m >= 16
            assert entry.block_n >= 16
    measured = {e.source for sizes in TABLE.values() for e in sizes.values()}
    assert "not measured" in measured


def test_tuning_stops_in_time_keeps_the_fastest_and_is_cached(rng, monkeypatch, tmp_path):
    monkeypatch.setenv("RCM_KERNELS_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "_found", {})
    monkeypatch.setattr(tuning, "_read_for", [])
    (query, _, value), _ = draw(rng, torch.float32)
    tried = []

    def measure(call):
        call()
        if len(tried) == 2:
            raise RuntimeError("out of resources")
        return 1.0 / len(tried)

    candidates = [blocks(), blocks(32), blocks(64)]
    best = tuning.tune(
        "forward", query, value, tried.append, measure=measure, candidates=candidates
    )
    assert (best.block_m, best.block_n) == (64, 16)
    assert best.source == "tuned here, 0.2500 ms"
    assert "forward" in (tmp_path / "tuned_2.json").read_text()
    monkeypatch.setattr(tuning, "_found", {})
    tuning._read_cache()
    assert list(tuning._found.values()) == [best]
    tried.clear()
    tuning.tune("forward", query, value, tried.append, measure=measure, seconds=0.0)
    assert len(tried) == 1
    with pytest.raises(RuntimeError, match="no configuration of forward ran. First failure"):
        tuning.tune("forward", query, value, lambda _: 1 / 0, measure=fail, seconds=0.0)


def fail(call):
    raise RuntimeError("out of resources")


def test_who_never_tuned_pays_nothing_for_it(monkeypatch, tmp_path):
    """Neither the driver nor the disk is asked at a launch."""
    monkeypatch.setenv("RCM_KERNELS_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "_found", {})
    monkeypatch.setattr(tuning, "_read_for", [])
    monkeypatch.setattr(tuning, "gpu_class", lambda device: "hopper")
    monkeypatch.setattr(tuning, "_key", fail)
    here = SimpleNamespace(device=torch.device("cuda"), shape=(1, 1, 8, 64), dtype=torch.bfloat16)
    first = tuning.chosen("forward", here, here)
    monkeypatch.setattr(tuning, "cache_file", fail)
    assert tuning.chosen("forward", here, here) is first


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("d", [16, 32, 64, 96, 128, 192, 256])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_shipped_configurations_on_the_gpu(rng, dtype, d, causal, kind):
    check(rng, dtype, None, kind=kind, causal=causal, b=2, h=4, g=2, s=1000, t=1090, d=d, e=d)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_bf16_output_exceeds_its_rounding_by_at_most_1_2e_3(rng, kind):
    """Of as many keys on a Hopper GPU, whose products are in float16."""
    primals, tangents = draw(rng, torch.bfloat16, kind=kind, h=2, g=2, s=4096, t=4096, d=128, e=128)
    got = launch.forward(primals, tangents, scale=128**-0.5, is_causal=False).tangent
    wide = [tuple(x.double() for x in part) for part in (primals, tangents)]
    exact = attention_with_tangent_reference(*wide, Masking(None, None), 128**-0.5).tangent
    error = (got.double() - exact).square().sum()
    rounding = (exact.bfloat16().double() - exact).square().sum()
    excess = (error - rounding).clamp_min(0).sqrt() / exact.norm()
    assert excess < 1.2e-3


@pytest.mark.gpu
def test_a_new_length_compiles_at_most_the_divisibility_variants(rng):
    from rcm_kernels.triton_forward import attention_forward

    def variants():
        return sum(len(cache[0]) for cache in attention_forward.device_caches.values())

    def run(s, t):
        primals, tangents = draw(rng, torch.bfloat16, s=s, t=t, d=64, e=64)
        launch.forward(primals, tangents, scale=0.125, is_causal=False)

    run(256, 512)
    run(255, 511)
    run(256, 511)
    run(255, 512)
    before = variants()
    for s, t in ((1024, 4096), (1008, 77), (999, 320), (513, 131), (48, 16000)):
        run(s, t)
    assert variants() == before


@pytest.mark.gpu
@pytest.mark.parametrize("batch_stride", [0, 1 << 32], ids=["by pointers", "by descriptors"])
def test_offsets_beyond_2_to_the_31(rng, batch_stride):
    """One head starts 2^31 elements into the tensor; without a stride no descriptor takes it."""
    big = torch.empty(3, 1 << 30, dtype=torch.bfloat16, device=DEVICE)
    q = big.as_strided((1, 3, 128, 64), (batch_stride, 1 << 30, 64, 1))
    q.copy_(torch.randn(q.shape, generator=rng))
    small = torch.empty(3, 128, 64, dtype=q.dtype, device=DEVICE).as_strided(
        q.shape, (batch_stride, 128 * 64, 64, 1)
    )
    small.copy_(q)
    how = {"scale": 0.125, "is_causal": False}
    got = launch.forward((q, q, q), (q, q, q), **how)
    expected = launch.forward((small,) * 3, (small,) * 3, **how)
    torch.testing.assert_close(tuple(got), tuple(expected), rtol=0, atol=0)


@pytest.mark.gpu
def test_the_same_bits_every_time(rng):
    primals, tangents = draw(rng, torch.bfloat16, h=8, g=8, s=2048, t=2048, d=128, e=128)
    pulls = tuple(torch.randn_like(primals[0]) for _ in range(2))
    first = everything(primals, tangents, pulls, None)
    for _ in range(20):
        torch.testing.assert_close(
            everything(primals, tangents, pulls, None), first, rtol=0, atol=0
        )
