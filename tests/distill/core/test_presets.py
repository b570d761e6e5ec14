"""Published configurations: the figures that their sources state."""

import dataclasses
import math

import pytest

from rcm_distill.objectives.presets import PRESETS, preset
from rcm_distill.time import trig_from_rf
from rcm_distill.train.recipe import methods


def test_every_preset_names_a_method_and_a_dated_source():
    for name, found in PRESETS.items():
        assert found.method in methods()
        assert type(found.objective).__module__.endswith(f".{found.method}")
        assert found.source
        assert "@" in name or "paper" in name or " at " in found.source, name


def test_rcm_presets_hold_the_published_figures():
    wan = preset("rcm paper v3 wan-14b").objective
    assert (wan.tangent_warmup, wan.student_update_freq, wan.teacher_guidance) == (200, 10, 5.0)
    # sqrt(21) shifts the log mean by 1.52, to about the repository's 0.7.
    assert wan.times_G.P_mean + 0.5 * math.log(wan.times_G.num_frames) == pytest.approx(
        0.72, abs=0.01
    )
    for found in PRESETS.values():
        if found.method == "rcm":
            loss = found.objective
            assert (loss.scm_weight, loss.dmd_weight) == (100.0, 1.0)


def test_two_commits_of_rcm_differ_in_four_conventions():
    old, new = (preset(f"rcm@{commit} wan-1.3b").objective for commit in ("20207e5", "5b41aa9"))
    changed = {
        f.name for f in dataclasses.fields(old) if getattr(old, f.name) != getattr(new, f.name)
    }
    assert changed == {"guidance_form", "warm_up", "times_G", "reduction"}
    assert (old.reduction, new.reduction) == ("mean_of_sums", "sum")
    assert (old.warm_up, new.warm_up) == ("rcm@20207e5", "rcm")
    # sqrt(20) shifts the log mean by 1.50: what was a factor there is a mean of 0.7 here.
    means = [t.P_mean + 0.5 * math.log(t.num_frames) for t in (old.times_G, new.times_G)]
    assert means[0] == pytest.approx(means[1], abs=0.005)


@pytest.mark.parametrize(("name", "std"), [("scd-cifar10", 1.4), ("scd-imagenet64", 1.6)])
def test_fastgens_scm_is_brought_to_unit_variance(name, std):
    """There sigma = tan t / 2 with log sigma ~ N(-1, std^2), and a norm over sqrt(D)."""
    loss = preset(f"fastgen@34f30e8 {name}").objective
    assert loss.times.P_mean - math.log(2) == pytest.approx(-1.0)
    assert (loss.times.P_std, loss.tangent_warmup, loss.c) == (std, 10_000, 0.1)
    assert (loss.tangent_size, loss.weighting) == ("rms", "inverse_sigma")
    assert loss.learned_weight


def test_self_forcings_times_are_its_shifted_steps():
    import torch

    loss = preset("self-forcing@33593df wan-1.3b").objective
    u = torch.tensor([0.75, 0.5, 0.25], dtype=torch.float64)
    expected = trig_from_rf(5 * u / (1 + 4 * u)).tolist()
    assert loss.backward_times == pytest.approx(expected)
    assert loss.guidance_form == "c + s(c - u)"


def test_sdxls_times_are_those_of_its_noise_schedule():
    import torch

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    signal = torch.cumprod(1 - betas, 0)[[749, 499, 249]]
    expected = torch.asin((1 - signal).sqrt()).tolist()
    assert preset("dmd2 sdxl").objective.backward_times == pytest.approx(expected, abs=2e-3)


def test_messages():
    with pytest.raises(ValueError, match="unknown preset 'rcm'. Available: rcm@5b41aa9 wan-1.3b"):
        preset("rcm")
