"""What every file of ``objectives/`` that defines ``Objective`` must keep."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rcm_distill import objectives
from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMeanFlow
from rcm_distill.denoiser import VelocityDenoiser, network_denoiser
from rcm_distill.objectives.protocol import Batch, LossTerms
from rcm_distill.train.recipe import methods

MODULES = {
    info.name: module
    for info in pkgutil.iter_modules(objectives.__path__)
    if hasattr(
        module := importlib.import_module(f"rcm_distill.objectives.{info.name}"), "Objective"
    )
    and getattr(module.Objective, "_is_protocol", False) is False
    and module.Objective.__module__ == module.__name__
}
STEPS = (0, 1, 5, 10)


VARIANTS = {
    **{name: module.Objective() for name, module in MODULES.items()},
    "dmd2 with a GAN": MODULES["dmd2"].Objective(gan_weight=0.1, gan_critic_weight=0.1),
    "scm with a learned weight": MODULES["scm"].Objective(learned_weight=True),
}


class Net(nn.Module):
    """A velocity network that depends on everything it is given, an end time if there is one."""

    def __init__(self, rng):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4, generator=rng, dtype=torch.float64))

    def forward(self, x, t, cond, s=None):
        t = t if s is None else t + 0.3 * s
        return torch.tanh(torch.cat([x, t[:, None]], 1) @ self.weight) + cond


class Gifted(VelocityDenoiser):
    """A network that is also a discriminator and carries a learned weight, on the same weights."""

    def logits(self, x_t, t_B, cond):
        return self.net(x_t, t_B, cond).sum(1)

    def log_weight(self, t_B):
        return self.net.weight[0, 0] * t_B.to(self.net.weight.dtype)


def denoisers_of(objective, *nets):
    """Student, teacher and critic; the student is told end times if the method needs it."""
    student, *others = nets
    wrapped = network_denoiser(student, end_time="end_time" in objective.needs)
    if "log_weight" in objective.needs:
        wrapped = Gifted(student)
    return [wrapped, *map(Gifted, others)]


@pytest.fixture(params=sorted(VARIANTS))
def objective(request):
    return VARIANTS[request.param]


@pytest.fixture
def batch(randn):
    return Batch(randn(6, 4), randn(6, 4), torch.zeros(6, 4, dtype=torch.float64), (6, 4))


def losses(objective, student, teacher, critic, batch, rng):
    """Yield every kind of loss that the trainer would ask for, with who learns."""
    for step in STEPS:
        if objective.phase(step) == "student":
            yield "student", objective(student, teacher, critic, batch, rng=rng, step=step)
    if "critic" in objective.needs:
        yield "critic", objective.critic_loss(student, critic, batch, rng=rng, step=1)


def test_the_methods_are_found():
    assert sorted(MODULES) == ["dcm", "dmd2", "flow_matching", "meanflow", "rcm", "scm"]
    assert sorted(MODULES) == methods()


def test_is_a_frozen_dataclass_with_documented_fields(objective):
    kind = type(objective)
    assert dataclasses.is_dataclass(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(objective, dataclasses.fields(kind)[0].name, None)
    for field in dataclasses.fields(kind):
        assert f"    {field.name}: " in inspect.cleandoc(kind.__doc__), field.name
    parts = {"end_time", "discriminator", "log_weight"}
    assert objective.needs <= {"data", "teacher", "critic", *parts}
    assert objective.phase(0) == "student"
    assert ("critic" in {objective.phase(step) for step in range(20)}) == (
        "critic" in objective.needs
    )


def test_losses_are_finite_and_only_the_learner_gets_gradients(rng, objective, batch):
    nets = {role: Net(rng) for role in ("student", "teacher", "critic")}
    for role, loss in losses(objective, *denoisers_of(objective, *nets.values()), batch, rng):
        assert isinstance(loss, LossTerms)
        assert loss.total.dtype == torch.float64
        assert torch.isfinite(loss.total)
        assert loss.nonfinite.item() == 0
        assert all(not term.requires_grad and term.ndim == 0 for term in loss.terms.values())
        for net in nets.values():
            net.zero_grad()
        loss.total.backward()
        for other, net in nets.items():
            assert (net.weight.grad is not None) == (other == role), (other, role)
        assert nets[role].weight.grad.abs().max() > 0


def test_the_same_generator_gives_the_same_loss(rng, objective, batch):
    denoisers = denoisers_of(objective, *(Net(rng) for _ in range(3)))
    runs = [
        [loss.total for _, loss in losses(objective, *denoisers, batch, rng.manual_seed(3))]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_low_precision_data_give_float32_losses(rng, objective, batch):
    denoisers = denoisers_of(objective, *(Net(rng).float() for _ in range(3)))
    low = Batch(*(part.bfloat16() for part in batch[:3]), batch.shape)
    for _, loss in losses(objective, *denoisers, low, rng):
        assert loss.total.dtype == torch.float32


def test_exact_tangents_and_small_differences_give_the_same_loss(rng, objective, batch):
    if not hasattr(objective, "method"):
        pytest.skip("has no tangent")
    denoisers = denoisers_of(objective, *(Net(rng) for _ in range(3)))
    grads = []
    for method in ("exact", "finite_difference"):
        changed = dataclasses.replace(objective, method=method)
        student = denoisers[0]
        student.net.zero_grad()
        changed(*denoisers, batch, rng=rng.manual_seed(3), step=50).total.backward()
        grads.append(student.net.weight.grad.clone())
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-4 * grads[0].abs().max().item())


def test_gradient_at_the_analytic_optimum(rng, randn, objective):
    """Zero in every draw; in expectation only for flow matching, whose loss has a floor.

    dCM has its optimum at the Euler-discretised map instead, see test_dcm.
    """
    if "num_steps" in {field.name for field in dataclasses.fields(objective)}:
        pytest.skip("has another optimum")
    if objective.needs & {"discriminator", "log_weight"}:
        pytest.skip("needs a discriminator or a weight in closed form, see their own tests")
    mean, std, n = 0.4, 0.5, 4096
    hyper = {"teacher_guidance": 1.0} if hasattr(objective, "teacher_guidance") else {}
    objective = dataclasses.replace(objective, **hyper)
    learned = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (mean, std)]
    teacher, regression = Gaussian(mean, std), "teacher" not in objective.needs
    exact = GaussianMeanFlow if "end_time" in objective.needs else GaussianConsistency
    student = (Gaussian if regression else exact)(*learned)
    label = torch.zeros(n, 1)
    batch = Batch(mean + std * randn(n, 4), label, label, (n, 4))
    loss = objective(student, teacher, teacher, batch, rng=rng, step=20_000).total
    size = max(g.abs().item() for g in torch.autograd.grad(loss, learned))
    assert size < (0.3 if regression else 1e-9)


class NoWaiting(TorchDispatchMode):
    """Fail where a value is copied to the host, or a shape depends on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "equal"}, name
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(rng, objective, batch):
    denoisers = denoisers_of(objective, *(Net(rng) for _ in range(3)))
    with NoWaiting():
        assert list(losses(objective, *denoisers, batch, rng))
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            batch.x0.sum().item()


def test_a_missing_role_is_said(rng, objective, batch):
    student = denoisers_of(objective, Net(rng))[0]
    if "teacher" in objective.needs:
        with pytest.raises(ValueError, match="needs a teacher, got None"):
            objective(student, None, student, batch, rng=rng, step=0)
    if "data" in objective.needs:
        with pytest.raises(ValueError, match="x0 must be a tensor, got None"):
            objective(student, student, student, batch._replace(x0=None), rng=rng, step=0)
    if "critic" in objective.needs:
        with pytest.raises(ValueError, match="needs a critic, got None"):
            objective(student, student, None, batch, rng=rng, step=0)
    else:
        with pytest.raises(ValueError, match="has no critic"):
            objective.critic_loss(student, student, batch, rng=rng, step=0)
