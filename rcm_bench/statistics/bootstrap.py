"""The cluster bootstrap: prompts resampled within strata, jointly for all that is compared."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rcm_bench.statistics.clusters import Clusters

SEED = 20_240_502


def cluster_bootstrap(
    tables: Sequence[Clusters], *, num_replicates: int = 2000, seed: int = SEED
) -> NDArray[np.float64]:
    """Return replicates of V for each table, shape (len(tables), num_replicates).

    Rescaled bootstrap (Rao & Wu 1988): n_s - 1 prompts are drawn from each stratum of n_s and
    weighted by n_s / (n_s - 1), so that the variance of a mean is unbiased also for few prompts.
    All tables see the same draws: differences and ratios of the rows are paired.

    Args:
        tables: Sums of the same prompts in the same order.
        num_replicates: Number of draws.
        seed: Seed of the draws; constant, so that a table made twice is the same.
    """
    strata = tables[0].strata
    for table in tables:
        if not np.array_equal(table.strata, strata):
            raise ValueError("tables must hold the same prompts in the same order")
    rng = np.random.default_rng(seed)
    weights = np.empty((num_replicates, len(strata)))
    for stratum in np.unique(strata):
        rows = strata == stratum
        n = int(rows.sum())
        if n < 2:
            raise ValueError(f"a stratum must have at least 2 prompts, got {n}")
        drawn = rng.multinomial(n - 1, np.full(n, 1 / n), size=num_replicates)
        weights[:, rows] = drawn * (n / (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [((weights @ t.numerator) / (weights @ t.denominator)).mean(1) for t in tables]
        )
