import pytest
import tiny_recipes
import torch

from rcm_distill import checkpoint
from rcm_distill.train import Recipe, graphs, train
from rcm_distill.train.recipe import Data, Optimizer

pytestmark = pytest.mark.gpu


def recipe(**changes) -> Recipe:
    """A tiny recipe with enough to do for a GPU."""
    larger = {
        "network": {**tiny_recipes.NETWORK, "width": 64},
        "data": Data(num_images=256),
        "student": Optimizer(lr=1e-4, warmup=1),
        "critic": Optimizer(lr=1e-4, warmup=1),
        "steps": 40,
        "batch_size": 64,
    }
    return tiny_recipes.recipe(**{**larger, **changes})


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("method", "precision"),
    [("flow_matching", "float32"), ("rcm", "float32"), ("rcm", "bf16"), ("scm", "bf16")],
)
def test_replayed_iterations_train_as_eager_ones_do(tmp_path, method, precision, monkeypatch):
    """Random numbers go on between replays, and learning rates change."""
    source, changes = None, {"precision": precision}
    if method != "flow_matching":
        source = train(recipe(steps=50), tmp_path / "teacher", device="cuda").weights
        # Longer than the eager runs: the warm-up is replayed too, with r from the clock.
        objective: dict[str, object] = {"tangent_warmup": 12}
        if method == "rcm":
            objective = {"tangent_warmup": 4, "student_update_freq": 2}
        changes |= {"method": method, "teacher": "t", "objective": objective}
    start = checkpoint.load(source, "cuda").net.state_dict() if source else None
    replayed = train(recipe(**changes), tmp_path / "graphs", device="cuda", teacher=source)
    monkeypatch.setattr(graphs, "EAGER_RUNS", 10**9)
    eager = train(recipe(**changes), tmp_path / "eager", device="cuda", teacher=source)
    one, two = (checkpoint.load(r.weights, "cuda").net.state_dict() for r in (replayed, eager))
    moved = sum((two[k] - start[k]).square().sum() for k in two) if start else torch.tensor(1.0)
    apart = sum((two[k] - one[k]).square().sum() for k in two)
    print(method, "apart", apart.sqrt().item(), "moved", moved.sqrt().item())
    assert apart.sqrt() < 0.02 * moved.sqrt()
    assert replayed.log.read_text().count("\n") == eager.log.read_text().count("\n") == 1
