import pytest
import torch

from rcm_distill.nets import DiT, DiTConfig, with_parts

SMALL = {"vocab_size": 9, "width": 32, "depth": 2, "num_heads": 2, "text_depth": 1}


def small_dit(**changes: int) -> DiT:
    """A DiT whose zero-initialised layers are drawn too, so that every path matters."""
    net = DiT(DiTConfig(**{**SMALL, **changes}))
    for parameter in net.parameters():
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def inputs(batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    return (
        torch.randn(batch, 3, 40, 40, dtype=dtype),
        torch.rand(batch, dtype=dtype),
        torch.randint(0, 9, (batch, 12)),
    )


def test_a_fresh_network_predicts_zero_velocity():
    x, t, tokens = inputs()
    assert DiT(DiTConfig(**SMALL))(x, t, tokens).abs().max() == 0


def test_patches_keep_their_place():
    """The patch maps invert each other."""
    from rcm_distill.nets.dit import _from_patches, _to_patches

    x, _, _ = inputs()
    assert torch.equal(_from_patches(_to_patches(x, 5), DiTConfig(**SMALL)), x)


def test_encoded_text_gives_what_tokens_give():
    net = small_dit()
    x, t, tokens = inputs()
    torch.testing.assert_close(net(x, t, net.encode(tokens)), net(x, t, tokens))


def test_word_order_and_the_null_word_matter():
    net = small_dit()
    x, t, tokens = inputs()
    tokens[:, :2] = torch.tensor([1, 2])
    swapped = tokens.clone()
    swapped[:, :2] = torch.tensor([2, 1])
    base = net(x, t, tokens)
    assert (base - net(x, t, swapped)).abs().max() > 1e-5
    assert (base - net(x, t, torch.full_like(tokens, 9))).abs().max() > 1e-5


def test_a_sample_does_not_depend_on_its_batch():
    net = small_dit().double()
    x, t, tokens = inputs(4, torch.float64)
    whole = net(x, t, tokens)
    torch.testing.assert_close(net(x[1:2], t[1:2], tokens[1:2]), whole[1:2], rtol=1e-10, atol=1e-10)


def test_tangent_equals_a_central_difference_in_fp64():
    net = small_dit().double()
    x, t, tokens = inputs(2, torch.float64)
    dx, dt, h = torch.randn_like(x), torch.randn_like(t), 1e-5
    _, tangent = torch.func.jvp(lambda a, b: net(a, b, tokens), (x, t), (dx, dt))
    with torch.no_grad():
        ahead = net(x + h * dx, t + h * dt, tokens)
        behind = net(x - h * dx, t - h * dt, tokens)
    difference = (ahead - behind) / (2 * h)
    assert (tangent - difference).norm() / difference.norm() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 7}, r"patch_size \(7\) must divide image_size \(40\)"),
        ({"num_heads": 5}, r"num_heads \(5\) must divide width \(32\)"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
    ],
)
def test_shapes_that_do_not_divide_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DiTConfig(**{**SMALL, **change})


def test_a_network_with_end_times_starts_as_the_one_it_came_from():
    net = small_dit()
    wider = with_parts(net, "end_time")
    (x, t, tokens), s = inputs(), torch.rand(3)
    assert torch.equal(wider(x, t, tokens, s), net(x, t, tokens))
    torch.nn.init.normal_(wider.gap_in[2].weight)
    assert (wider(x, t, tokens, s) - wider(x, t, tokens, t)).abs().max() > 1e-5
    with pytest.raises(ValueError, match="end_time=True needs s_B"):
        wider(x, t, tokens)
    with pytest.raises(ValueError, match="end_time=False takes no s_B"):
        net(x, t, tokens, s)
