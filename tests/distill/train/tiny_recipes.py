"""Trainings of seconds, shared by the tests of the trainer."""

from rcm_distill.train import Recipe
from rcm_distill.train.recipe import Data, Optimizer

NETWORK = {"width": 32, "depth": 1, "num_heads": 2, "text_depth": 1, "mlp_ratio": 1}


def recipe(**changes) -> Recipe:
    base = {
        "recipe": "tiny",
        "about": "a test",
        "method": "flow_matching",
        "network": NETWORK,
        "data": Data(num_images=16),
        "student": Optimizer(lr=1e-3),
        "critic": Optimizer(lr=1e-3),
        "steps": 6,
        "batch_size": 4,
        "precision": "float32",
    }
    return Recipe(**{**base, **changes})
