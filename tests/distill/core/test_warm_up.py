"""The warm-up of a tangent by a clock on the device: one piece of work, the host's numbers."""

import secrets

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMeanFlow
from rcm_distill.objectives import meanflow, rcm, scm
from rcm_distill.objectives.protocol import Batch

H = 7


@pytest.mark.parametrize(
    "objective",
    [
        scm.Objective(tangent_warmup=H, warm_up="scm"),
        scm.Objective(tangent_warmup=H, warm_up="rcm"),
        rcm.Objective(tangent_warmup=H),
        meanflow.Objective(tangent_warmup=H, equal_share=0.0),  # where s = t, r is of no account
    ],
)
def test_a_clock_gives_what_the_host_gives(objective):
    seed = secrets.randbits(40)
    kind = GaussianMeanFlow if "end_time" in objective.needs else GaussianConsistency
    student, teacher = kind(0.3, 0.7), Gaussian(0.0, 0.5)
    label = torch.zeros(5, 1)
    losses = []
    for step in range(H + 2):
        rng = torch.Generator().manual_seed(seed)
        x0 = torch.randn(5, 3, generator=rng, dtype=torch.float64)
        found = []
        for clock in (None, torch.tensor(float(step), dtype=torch.float64)):
            rng = torch.Generator().manual_seed(seed + 1)
            batch = Batch(x0, label, label, (5, 3), clock)
            terms = objective(student, teacher, Gaussian(0.1, 0.6), batch, rng=rng, step=step)
            found.append(terms.total.detach())
        assert torch.equal(*found), step
        losses.append(found[0].item())
    assert len(set(losses[: H + 1])) == H + 1, "r matters"
    assert len({objective.variant(step) for step in range(H)}) == 1
    assert objective.variant(H) != objective.variant(H - 1)
