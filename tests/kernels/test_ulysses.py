"""Context parallelism in several processes: the same numbers as in one, in two collectives."""

import pytest
import torch
from processes import run_ranks

from rcm_kernels import attention


def golden(num, seed, causal, *, tangent):
    """Output, tangent and gradients in one process, by PyTorch's own differentiation."""
    B, H, S, D = 2, 2 * num, 4 * num, 16
    groups = (B, num, S, D)
    rng = torch.Generator().manual_seed(seed)
    shapes = [(B, H, S, D), groups, groups, (B, H, S, D), groups, groups, (B, H, S, D)]
    drawn = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    *leaves, weight = drawn
    leaves = [x.requires_grad_() for x in leaves]

    def attend(q, k, v):
        scores = 0.3 * q @ k.repeat_interleave(2, dim=1).mT
        if causal:
            scores = scores.masked_fill(torch.ones(S, S, dtype=torch.bool).triu(1), -torch.inf)
        return torch.softmax(scores, -1) @ v.repeat_interleave(2, dim=1)

    if tangent:
        out = torch.func.jvp(attend, tuple(leaves[:3]), tuple(leaves[3:]))
    else:
        out, leaves = (attend(*leaves[:3]),), leaves[:3]
    grads = torch.autograd.grad(sum((x * weight).sum() for x in out), leaves)
    return [x.detach() for x in (*out, *grads)]


def compare(num, seed, ranks):
    local = 2 * 4 * 16  # B s D of one head
    for name in ("dual_level", "func.jvp", "plain"):
        for causal in (False, True):
            expected = golden(num, seed, causal, tangent=name != "plain")
            got = [torch.cat(parts, dim=2) for parts in
                   zip(*(r[name, causal] for r in ranks), strict=True)]  # fmt: skip
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
            both = 1 if name == "plain" else 2
            # Queries, keys and values there (2n + n + n heads), the output back (2n), and no more.
            sizes = [both * 4 * num * local, both * 2 * num * local]
            assert all(r[name, causal, "sent"] == sizes for r in ranks)
            assert all(r[name, causal, "sent in all"] == 4 for r in ranks)
    assert ranks[0]["message"] == (
        f"the heads of query (1) must be a multiple of the number of processes ({num})"
    )


@pytest.mark.long
@pytest.mark.parametrize("num", [2, 3])
def test_processes_agree_with_one(num, tmp_path):
    compare(num, *run_ranks("ulysses", num, tmp_path))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_agree_with_one_process(tmp_path):
    compare(2, *run_ranks("ulysses", 2, tmp_path, device="cuda"))


def test_attention_is_what_it_is_compared_with():
    """The written-out attention above is the library's too."""
    expected = golden(2, 5, True, tangent=False)[0]
    rng = torch.Generator().manual_seed(5)
    q = torch.randn(2, 4, 8, 16, generator=rng, dtype=torch.float64)
    k, v = (torch.randn(2, 2, 8, 16, generator=rng, dtype=torch.float64) for _ in range(2))
    got = attention(q, k, v, scale=0.3, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
