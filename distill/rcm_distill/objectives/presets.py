"""Published configurations by name; each name carries its paper or commit.

Codebases that implement one method differ in guidance form, reduction, normaliser, warm-up and time
distributions, and change these over time; a preset says which of them is meant. Learning rates,
batch sizes, numbers of iterations and averages are the recipe's matter, not the objective's.
"""

import math
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

from rcm_distill.objectives import dcm, dmd2, meanflow, rcm, scm
from rcm_distill.objectives.protocol import Objective
from rcm_distill.objectives.time_law import LogitNormal, LogNormal, UniformShift


class Preset(NamedTuple):
    """An objective as published, its method's name, where it is from, and what is not as there."""

    method: str
    objective: Objective
    source: str
    differs: str = ""


def _preset(module: ModuleType, objective: Objective, source: str, differs: str = "") -> Preset:
    return Preset(module.__name__.rpartition(".")[2], objective, source, differs)


_WAN = rcm.Objective(
    times_G=LogNormal(P_mean=0.7, P_std=1.6),
    times_D=UniformShift(shift=5.0),
    tangent_warmup=1000,
    teacher_guidance=5.0,
)
_WAN_14B = replace(
    _WAN, times_G=LogNormal(P_mean=1.5, P_std=1.6), tangent_warmup=0, student_update_freq=10
)
_RCM_CODE = "NVlabs/rcm, configs/experiments/rcm/wan2pt1_t2v.py"
_RCM_PAPER = "2510.08431v3, Table 4 and appendix C"
_FASTGEN = "NVlabs/FastGen at 34f30e8"

_SCD_DIFFERS = "sigma at most 80; a factor 1 / D^2 of the loss, which the learned weight evens out"


def _scd(P_std: float) -> scm.Objective:
    """Return FastGen's sCM: sigma_d = 0.5 there, so that log tan t = log sigma + log 2."""
    return scm.Objective(
        times=LogNormal(P_mean=-1.0 + math.log(2), P_std=P_std),
        tangent_size="rms",
        learned_weight=True,
    )


PRESETS: dict[str, Preset] = {
    "rcm@5b41aa9 wan-1.3b": _preset(rcm, _WAN, _RCM_CODE),
    "rcm@5b41aa9 wan-14b": _preset(rcm, _WAN_14B, _RCM_CODE),
    # Guidance changed at 4f45bdf (2026-02-20), the warm-up at f9b7be9 (2026-01-08), p_G at 4b2d953.
    "rcm@20207e5 wan-1.3b": _preset(
        rcm,
        replace(
            _WAN,
            times_G=LogNormal(P_mean=-0.8, P_std=1.6, num_frames=20),
            warm_up="rcm@20207e5",
            guidance_form="c + s(c - u)",
            reduction="mean_of_sums",
        ),
        "NVlabs/rcm, rcm/models/t2v_model_distill_rcm.py; the 20 frames of its first Wan "
        "configuration, at 97578b7",
        "distribution matching starts one iteration later there",
    ),
    "rcm@5b41aa9 dcm": _preset(
        dcm, dcm.Objective(teacher_guidance=5.0), "NVlabs/rcm, rcm/models/t2v_model_distill_rcm.py"
    ),
    # 20 and 21 latent frames of 77 and 81.
    "rcm paper v3 cosmos-t2i": _preset(rcm, rcm.Objective(), _RCM_PAPER),
    "rcm paper v3 wan-1.3b": _preset(
        rcm, replace(_WAN, times_G=LogNormal(P_mean=-0.8, P_std=1.6, num_frames=20)), _RCM_PAPER
    ),
    "rcm paper v3 wan-14b": _preset(
        rcm,
        replace(
            _WAN,
            times_G=LogNormal(P_mean=-0.8, P_std=1.6, num_frames=21),
            tangent_warmup=200,
            student_update_freq=10,
        ),
        _RCM_PAPER,
    ),
    "fastgen@34f30e8 scd-cifar10": _preset(
        scm, _scd(1.4), f"{_FASTGEN}, EDM/config_scd_cifar10.py and sCM.py", _SCD_DIFFERS
    ),
    "fastgen@34f30e8 scd-imagenet64": _preset(
        scm, _scd(1.6), f"{_FASTGEN}, EDM/config_scd_in64.py and sCM.py", _SCD_DIFFERS
    ),
    "fastgen@34f30e8 dmd2-wan": _preset(
        dmd2,
        dmd2.Objective(
            times=UniformShift(shift=5.0, low=0.001, high=0.999),
            backward_times=tuple(math.atan2(t, 1 - t) for t in (0.937, 0.833, 0.624)),
            teacher_guidance=5.0,
        ),
        f"{_FASTGEN}, WanT2V/config_dmd2.py",
        "backward simulation instead of noised data, no GAN branch on the teacher's features "
        "(0.03); starts at pi/2 and re-noises, there from t_rf = 0.999 by ODE steps",
    ),
    "fastgen@34f30e8 meanflow-wan": _preset(
        meanflow,
        meanflow.Objective(
            times=LogitNormal(mean=-0.8, std=1.6),
            equal_share=0.0,
            tangent_warmup=2000,
            norm="rms",
            norm_constant=10.0,
            method="finite_difference",
            teacher_guidance=3.0,
            reduction="mean_of_sums",
        ),
        f"{_FASTGEN}, WanT2V/config_mf.py and mean_flow.py",
        "difference step 1e-3 in TrigFlow's t, there 5e-3 in t_rf",
    ),
    "dmd2 sdxl": _preset(
        dmd2,
        dmd2.Objective(
            # sin t = sqrt(1 - prod alpha) of its schedule, betas from 0.00085 to 0.012 in the root.
            backward_times=tuple(math.asin(s) for s in (0.971, 0.850, 0.570)),
            teacher_guidance=8.0,
            gan_weight=5e-3,
            gan_critic_weight=1e-2,
        ),
        "2405.14867 and tianweiy/DMD2 at 8d8fa55: steps 999, 749, 499, 249, U(0.02 T, 0.98 T)",
        "one learned query as the discriminator's head, there convolutions; starts at pi/2, not at "
        "step 999; times are uniform in rectified-flow time",
    ),
    "self-forcing@33593df wan-1.3b": _preset(
        dmd2,
        dmd2.Objective(
            times=UniformShift(shift=5.0),
            backward_times=tuple(math.atan2(t, 1 - t) for t in (0.9375, 5 / 6, 0.625)),
            teacher_guidance=3.0,
            guidance_form="c + s(c - u)",
        ),
        "guandeh17/Self-Forcing, model/dmd.py; steps 1000, 750, 500, 250 at shift 5",
        "whole clips, not causal blocks; its times are clamped to [0.02, 0.98], its number of "
        "simulated steps is drawn, and its critic learns in the student's iterations too",
    ),
    "meanflow paper": _preset(
        meanflow,
        meanflow.Objective(velocity="data", reduction="mean_of_sums"),
        "2505.13447 and its authors' meanflow.py at d70cb55",
        "no guidance inside the target and no label dropout",
    ),
}


def preset(name: str) -> Preset:
    """Return a published configuration; ``dataclasses.replace`` changes what differs.

    Raises:
        ValueError: There is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset '{name}'. Available: {', '.join(PRESETS)}.")
    return PRESETS[name]
