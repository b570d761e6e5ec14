"""Features of samples to sums per prompt. Pure but for reading the stored vectors; no torch."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from rcm_bench.errors import UserError
from rcm_bench.feature_files import KEY, REAL, read_features, read_set
from rcm_bench.measured import CELL, Measured, scored
from rcm_bench.statistics import diversity
from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.coverage import prdc
from rcm_bench.statistics.coverage_jackknife import smallest, without_each

ROW = [
    *(*CELL, "prompt_id", "stratum", "component"),
    *("numerator", "denominator", "within", "n_samples", "n_missing"),
]
NAN = float("nan")


def with_features(samples: pd.DataFrame, scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return every planned sample with the path of its features, None where there is none."""
    table = scored(samples, scores, metric).sort_values([*CELL, "prompt_id", "seed_index"])
    paths = [
        json.loads(text).get(KEY) if isinstance(text, str) else None for text in table["details"]
    ]
    return table.assign(features=pd.Series(paths, index=table.index, dtype=object))


def real_set(scores: pd.DataFrame, metric: str) -> Floats | None:
    """Return the features of the real images that the scores name; None where none does.

    Args:
        scores: The scores table.
        metric: Metric of the scorer.

    Raises:
        UserError: They name several sets: scores of other images are among them.
    """
    texts = scores.loc[scores["metric"] == metric, "details"]
    found = {json.loads(text).get(REAL) for text in texts if isinstance(text, str)} - {None}
    if len(found) > 1:
        raise UserError(f"{metric}: expected one set of real images, got {len(found)}")
    return read_set(found.pop()) if found else None


def pairwise(table: pd.DataFrame, distance: Literal["cosine", "squared"]) -> Measured:
    """Sum the distances of all pairs of each prompt's samples, over the number of pairs.

    All pairs of K independent seeds make an unbiased estimate for each prompt.

    Args:
        table: Samples with the paths of their features.
        distance: 1 - cos, or squared Euclidean distance.
    """
    measure = diversity.cosine_distances
    if distance == "squared":
        measure = diversity.squared_distances

    def sums(features: Floats, planned: int) -> dict[str, Any]:
        found = diversity.pair_sum(measure(features))
        return {
            "numerator": found.total,
            "denominator": found.pairs,
            "within": found.within,
            "n_samples": len(features),
        }

    return Measured(rows=_by_prompt(table, sums))


def vendi_scores(table: pd.DataFrame) -> Measured:
    """Return the Vendi score of each prompt that has all of its samples.

    The score grows with the number of samples, so a prompt that lacks one cannot stand beside
    others; all of its samples count as missing.

    Args:
        table: Samples with the paths of their features.
    """

    def sums(features: Floats, planned: int) -> dict[str, Any]:
        if len(features) < planned:
            return {"numerator": 0.0, "denominator": 0.0, "within": NAN, "n_samples": 0}
        return {
            "numerator": diversity.vendi(features),
            "denominator": 1.0,
            "within": diversity.vendi_within(features),
            "n_samples": len(features),
        }

    return Measured(rows=_by_prompt(table, sums))


def _by_prompt(table: pd.DataFrame, sums: Callable[[Floats, int], dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for key, group in table.groupby([*CELL, "prompt_id", "task"], sort=True):
        there = group["features"].dropna()
        found = sums(read_features(there), len(group))
        shared = dict(zip((*CELL, "prompt_id", "stratum"), key, strict=True))
        missing = len(group) - found["n_samples"]
        rows.append({**shared, "component": "", **found, "n_missing": missing})
    return pd.DataFrame(rows, columns=ROW)


def between_sets(table: pd.DataFrame, nearest: int) -> dict[str, Measured]:
    """Compare each cell's samples with the reference's, all prompts together.

    A sample counts for its own prompt, and its neighbours may be any: prompts are sampled, so they
    are the clusters. Each prompt's sum holds what the number changes by without it, neighbourhoods
    too (`coverage_jackknife`), in place of its own samples' sum; over all prompts that is the same.
    The reference has no row: it would be compared with itself. A cell too small to have k
    neighbours, whichever prompt is left out, has none either.

    Args:
        table: Samples with the paths of their features, and the column ``is_reference``.
        nearest: Neighbours k.
    """
    teacher = table[table["is_reference"]]
    real_rows = teacher[teacher["features"].notna()]
    rows: dict[str, list[pd.DataFrame]] = {n: [] for n in _SIDES}
    if len(real_rows) > nearest:
        real = read_features(real_rows["features"])
        for _, cell in table[~table["is_reference"]].groupby(CELL, sort=True):
            fake_rows = cell[cell["features"].notna()]
            prompts = sorted({*real_rows["prompt_id"], *fake_rows["prompt_id"]})
            of_real, of_fake = (
                pd.Index(prompts).get_indexer(pd.Index(own["prompt_id"])).astype(np.int64)
                for own in (real_rows, fake_rows)
            )
            if smallest(of_real, of_fake) <= nearest:
                continue
            fake = read_features(fake_rows["features"])
            found = prdc(real, fake, nearest)._asdict()
            without = without_each(real, fake, of_real, of_fake, nearest)._asdict()
            for name, side in _SIDES.items():
                planned, there = (teacher, real_rows) if side == "real" else (cell, fake_rows)
                own = planned.assign(value=pd.Series(found[name] * 1.0, index=there.index))
                left = dict(zip(prompts, without[name], strict=True))
                rows[name].append(_leaving_out(_shares(own, cell.iloc[0]), left))
    return {
        name: Measured(rows=pd.concat(made), kind="mean" if name == "density" else "proportion")
        for name, made in rows.items()
        if made
    }


_SIDES = {"precision": "fake", "density": "fake", "recall": "real", "coverage": "real"}


def _leaving_out(rows: pd.DataFrame, without: Mapping[str, float]) -> pd.DataFrame:
    """Put in place of each prompt's sum what makes the variance that of the stratified jackknife.

    With D = sum_i d_i, V = sum_i numerator_i / D, and V_i the number without prompt i of a stratum
    of n, numerator_i = d_i V + D (n - 1) / n (mean_j V_j - V_i), whose rests over D have the
    variance sum (n - 1) / n sum_i (V_i - mean_j V_j)^2 (Efron and Stein 1981).
    """
    whole = rows["denominator"].sum()
    value = rows["numerator"].sum() / whole
    left = rows["prompt_id"].map(without).fillna(value)
    strata = left.groupby(rows["stratum"])
    size = strata.transform("size")
    moved = (size - 1) / size * (strata.transform("mean") - left)
    return rows.assign(numerator=rows["denominator"] * value + whole * moved)


def _shares(planned: pd.DataFrame, cell: "pd.Series[Any]") -> pd.DataFrame:
    """Sum what single samples add over each prompt, as rows of a cell."""
    rows = pd.DataFrame(list(_sums(planned)), columns=ROW)
    return rows.assign(**{name: cell[name] for name in CELL})


def _sums(planned: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (prompt, task), group in planned.groupby(["prompt_id", "task"], sort=True):
        values = group["value"].dropna()
        yield {
            "prompt_id": prompt,
            "stratum": task,
            "component": "",
            "numerator": float(values.sum()),
            "denominator": float(len(values)),
            # Neighbourhoods tie the samples of a prompt together: seeds are no independent draws.
            "within": NAN,
            "n_samples": len(values),
            "n_missing": len(group) - len(values),
        }


def distance_of_sets(
    table: pd.DataFrame,
    contributions: Callable[[Floats, Floats], Floats],
    real: Floats | None = None,
) -> Measured | None:
    """Sum what each sample adds to its cell's distance, by prompt; None if nothing can be said.

    Intervals take the samples of the other side as given.

    Args:
        table: Samples with the paths of their features, and the column ``is_reference``.
        contributions: What each fake sample adds, from (real, fake); their mean is the distance.
        real: Features of real images, which every cell is compared with; by default the
            reference's samples, which it is not itself compared with.
    """
    compared = table
    if real is None:
        real = read_features(table.loc[table["is_reference"], "features"].dropna())
        compared = table[~table["is_reference"]]
    rows: list[pd.DataFrame] = []
    if len(real) > 1:
        for _, cell in compared.groupby(CELL, sort=True):
            there = cell[cell["features"].notna()]
            if len(there) > 1:
                added = contributions(real, read_features(there["features"]))
                own = cell.assign(value=pd.Series(added, index=there.index))
                rows.append(_shares(own, cell.iloc[0]))
    return Measured(rows=pd.concat(rows), ratio=False) if rows else None
