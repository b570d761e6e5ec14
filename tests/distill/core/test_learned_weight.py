"""sCM's learned weight: where it ends, and what it does to the student's gradient."""

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency
from rcm_distill.nets.heads import TimeHead
from rcm_distill.objectives import scm
from rcm_distill.objectives._learned_weight import weighted_loss
from rcm_distill.objectives.protocol import Batch
from rcm_distill.objectives.time_law import LogNormal

TEACHER = Gaussian(0.0, 0.5)


class Student:
    """A consistency function with the wrong width, and one weight for all times."""

    def __init__(self, w=0.0):
        self.std, self.w = (
            torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.8, w)
        )

    def __call__(self, x_t, t_B, cond, *, s_B=None):
        return GaussianConsistency(0.0, self.std)(x_t, t_B, cond)

    def log_weight(self, t_B):
        return self.w.expand(len(t_B))


def loss_of(made, rng, *, learned, reduction="mean"):
    objective = scm.Objective(
        times=LogNormal(P_mean=0.0, P_std=1.0), learned_weight=learned, reduction=reduction
    )
    x0 = 0.5 * torch.randn(64, 3, generator=rng.manual_seed(5), dtype=torch.float64)
    batch = Batch(x0, None, None, tuple(x0.shape))
    return objective(made, TEACHER, None, batch, rng=rng, step=20_000)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_of_sums"])
def test_its_optimum_is_the_log_of_the_mean_squared_norm(rng, reduction):
    """Of the very draw, so that the weight's gradient there is exactly zero."""
    plain = loss_of(Student(), rng, learned=False, reduction=reduction).total
    mean = (plain / 64 if reduction == "sum" else plain).log().item()
    for w, at_rest in ((mean, True), (mean + 0.1, False), (mean - 0.1, False)):
        made = Student(w)
        total = loss_of(made, rng, learned=True, reduction=reduction).total
        (slope,) = torch.autograd.grad(total, made.w)
        assert (abs(slope.item()) < 1e-11) == at_rest
        # Too large a weight comes down, too small a one rises.
        assert at_rest or slope.item() * (w - mean) > 0


def test_it_scales_the_students_gradient(rng):
    plain, weighted = Student(), Student(1.3)
    (one,) = torch.autograd.grad(loss_of(plain, rng, learned=False).total, plain.std)
    terms = loss_of(weighted, rng, learned=True)
    (two,) = torch.autograd.grad(terms.total, weighted.std)
    assert two.item() == pytest.approx(one.item() * torch.tensor(-1.3).exp().item(), rel=1e-6)
    assert terms.terms["log_weight"].item() == pytest.approx(1.3)


def test_a_head_learns_the_expected_norm_at_each_time(rng):
    """S = a chi-squared number times s(t): the head ends near log E[S | t] = log s(t) + log 3."""
    t_B = torch.rand(4096, generator=rng, dtype=torch.float64)
    expected = 2.0 * t_B - 1.0 + torch.tensor(3.0).log()
    squares = torch.randn(4096, 3, generator=rng, dtype=torch.float64).square().sum(1)
    squares_B = squares * (2.0 * t_B - 1.0).exp()
    head = TimeHead(2).double()
    features = torch.stack([t_B, t_B.square()], 1)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60)
    kept_B = torch.ones(4096, dtype=torch.bool)

    def closure():
        optimizer.zero_grad()
        loss = weighted_loss(squares_B, head(features), kept_B, "mean")
        loss.backward()
        return loss

    optimizer.step(closure)
    # S / E[S] has variance 2/3; a parabola's leverage at the ends is 9 / n: standard error 0.038.
    assert (head(features) - expected).abs().max().item() < 0.25


def test_a_student_without_a_weight_is_refused(rng):
    plain = GaussianConsistency(0.0, torch.tensor(0.8, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"student with log_weight\(t_B\), got GaussianConsist"):
        loss_of(plain, rng, learned=True)
    assert scm.Objective(learned_weight=True).needs == {"data", "teacher", "log_weight"}
