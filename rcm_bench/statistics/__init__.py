"""Intervals, tests and ratios with the prompt as the unit; numpy and scipy only.

The facts behind the choices: a naive binomial interval on several images per prompt covers about
75 %, so prompts are the unit; the plain clustered interval falls short near 0 and 1, so
proportions get Wilson's with an effective number of prompts. `rcm_bench.statistics_coverage`
measures what the intervals cover.
"""

from rcm_bench.statistics.bootstrap import cluster_bootstrap
from rcm_bench.statistics.clusters import Clusters, Population, influence, value_of
from rcm_bench.statistics.intervals import MIN_PROMPTS, Estimate, Kind, estimate, wilson
from rcm_bench.statistics.multiple import can_pass, holm
from rcm_bench.statistics.paired import Comparison, compare, mover_difference, mover_ratio
from rcm_bench.statistics.sign_flip import least_p, sign_flip_p

__all__ = [
    "MIN_PROMPTS",
    "Clusters",
    "Comparison",
    "Estimate",
    "Kind",
    "Population",
    "can_pass",
    "cluster_bootstrap",
    "compare",
    "estimate",
    "holm",
    "influence",
    "least_p",
    "mover_difference",
    "mover_ratio",
    "sign_flip_p",
    "value_of",
    "wilson",
]
