"""Published rCM configurations by name; each name carries its paper or commit.

The repository and the paper differ in places, so both are here. Learning rates, batch sizes and
numbers of iterations are the recipe's matter, not the objective's.
"""

from dataclasses import replace

from rcm_distill.objectives.rcm import Objective
from rcm_distill.objectives.time_law import LogNormal, UniformShift

_IMAGE = Objective()
_WAN = Objective(
    times_G=LogNormal(P_mean=0.7, P_std=1.6),
    times_D=UniformShift(shift=5.0),
    tangent_warmup=1000,
    teacher_guidance=5.0,
)

RCM_PRESETS: dict[str, Objective] = {
    # NVlabs/rcm at 5b41aa9, configs/experiments/rcm/wan2pt1_t2v.py.
    "rcm@5b41aa9 wan-1.3b": _WAN,
    "rcm@5b41aa9 wan-14b": replace(
        _WAN,
        times_G=LogNormal(P_mean=1.5, P_std=1.6),
        tangent_warmup=0,
        student_update_freq=10,
    ),
    # 2510.08431v3, Table 4; 20 and 21 latent frames of 77 and 81.
    "rcm paper v3 cosmos-t2i": _IMAGE,
    "rcm paper v3 wan-1.3b": replace(
        _WAN, times_G=LogNormal(P_mean=-0.8, P_std=1.6, num_frames=20)
    ),
    "rcm paper v3 wan-14b": replace(
        _WAN,
        times_G=LogNormal(P_mean=-0.8, P_std=1.6, num_frames=21),
        tangent_warmup=200,
        student_update_freq=10,
    ),
}


def rcm_preset(name: str) -> Objective:
    """Return a published configuration; ``dataclasses.replace`` changes what differs.

    Raises:
        ValueError: There is no such preset.
    """
    if name not in RCM_PRESETS:
        raise ValueError(f"unknown preset '{name}'. Available: {', '.join(RCM_PRESETS)}.")
    return RCM_PRESETS[name]
