"""Training: recipes, the loop, and a state that can be stopped and resumed."""

from rcm_distill.train.recipe import Recipe, load_recipe
from rcm_distill.train.trainer import Report, train

__all__ = ["Recipe", "Report", "load_recipe", "train"]
