"""The cluster bootstrap: prompts resampled within strata, jointly for all that is compared."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rcm_bench.statistics.clusters import Clusters, Floats

SEED = 20_240_502


@lru_cache(maxsize=4)
def _weights(strata: bytes, num_replicates: int, seed: int) -> Floats:
    """Return each prompt's weight in each draw, shape (num_replicates, n).

    Rescaled bootstrap (Rao & Wu 1988): n_s - 1 prompts are drawn from each stratum of n_s and
    weighted by n_s / (n_s - 1), so that the variance of a mean is unbiased also for few prompts.
    """
    labels = np.frombuffer(strata, dtype=np.int64)
    rng = np.random.default_rng(seed)
    weights = np.empty((num_replicates, len(labels)))
    for stratum in np.unique(labels):
        rows = labels == stratum
        n = int(rows.sum())
        if n < 2:
            raise ValueError(f"a stratum must have at least 2 prompts, got {n}")
        drawn = rng.multinomial(n - 1, np.full(n, 1 / n), size=num_replicates)
        weights[:, rows] = drawn * (n / (n - 1))
    return weights


def replicate_ratios(
    tables: Sequence[Clusters], *, num_replicates: int = 2000, seed: int = SEED
) -> Floats:
    """Return replicates of every R_c, shape (len(tables), num_replicates, C).

    All tables and all components see the same draws: whatever is computed of them is paired.

    Args:
        tables: Sums of the same prompts in the same order, with the same components.
        num_replicates: Number of draws.
        seed: Seed of the draws; constant, so that a table made twice is the same.
    """
    strata = tables[0].strata
    for table in tables:
        if not np.array_equal(table.strata, strata):
            raise ValueError("tables must hold the same prompts in the same order")
    weights = _weights(strata.astype(np.int64).tobytes(), num_replicates, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([(weights @ t.numerator) / (weights @ t.denominator) for t in tables])


def cluster_bootstrap(
    tables: Sequence[Clusters], *, num_replicates: int = 2000, seed: int = SEED
) -> Floats:
    """Return replicates of V for each table, shape (len(tables), num_replicates).

    Args:
        tables: As in `replicate_ratios`.
        num_replicates: Number of draws.
        seed: Seed of the draws.
    """
    ratios = replicate_ratios(tables, num_replicates=num_replicates, seed=seed)
    values: Floats = ratios.mean(-1)
    return values
