"""What a benchmark hands to aggregation: sums per prompt, one row for each part of a number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from rcm_bench.errors import UserError
from rcm_bench.statistics import Clusters

CELL = ["model", "sampler", "steps"]
Failures = Literal["exclude_and_flag", "score_zero"]
"""What a sample without a score counts as: nothing (but counted as missing), or as wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One metric of every cell (model, sampler, steps).

    Args:
        rows: Columns model, sampler, steps, prompt_id, stratum, component, numerator, denominator,
            within, n_samples, n_missing; one row for each prompt and component of a cell.
            ``within`` is the variance of the numerator over new seeds, NaN where unknown.
        components: The parts that the number is the mean of; all must be there.
        kind: ``"proportion"`` for means of zeros and ones, ``"mean"``, or ``"exact"`` for counts
            that are no estimates.
        ratio: Whether student over teacher means something in this unit.
        withheld: Why a cell's number must not be printed, by (model, sampler, steps).
    """

    rows: pd.DataFrame
    components: tuple[str, ...] = ("",)
    kind: Literal["proportion", "mean", "exact"] = "mean"
    ratio: bool = True
    withheld: Mapping[tuple[str, str, int], str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """The prompts of one model, sampler and number of steps, sorted by prompt.

    Args:
        prompts: (n,) prompt ids.
        clusters: Their sums.
        n_samples: (n,) scored samples of each prompt.
        n_missing: (n,) planned samples without a score.
    """

    prompts: pd.Index
    clusters: Clusters
    n_samples: "pd.Series[int]"
    n_missing: "pd.Series[int]"


def scored(samples: pd.DataFrame, scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Join every planned sample with its value of one scorer metric; NaN where there is none.

    Args:
        samples: The samples table: one row for every planned item, whatever became of it.
        scores: The scores table.
        metric: Metric of the scorer.

    Raises:
        ValueError: A sample has two different values.
    """
    own = scores.loc[scores["metric"] == metric, ["item_id", "value", "reason", "details"]]
    own = own.drop_duplicates(["item_id", "value"])
    if own["item_id"].duplicated().any():
        twice = sorted(own.loc[own["item_id"].duplicated(), "item_id"])
        raise ValueError(f"expected one value of '{metric}' per sample, got several: {twice[0]}")
    return samples.merge(own, on="item_id", how="left", validate="one_to_one")


def per_prompt(table: pd.DataFrame, *, failures: Failures = "exclude_and_flag") -> pd.DataFrame:
    """Sum a per-sample value over the seeds of each prompt.

    The variance over new seeds of a sum of K values is K s^2, s^2 their sample variance.

    Args:
        table: Samples with a column ``value`` (NaN = unscored) and a column ``task``.
        failures: With ``"score_zero"`` an unscored sample counts as 0; it stays counted as missing.
    """
    frame = table.assign(there=table["value"].notna())
    if failures == "score_zero":
        frame["value"] = frame["value"].fillna(0.0)
    groups = frame.sort_values([*CELL, "prompt_id", "seed_index"]).groupby(
        [*CELL, "prompt_id", "task"], sort=True
    )
    rows = groups["value"].agg(numerator="sum", denominator="count", spread="var").reset_index()
    rows["within"] = rows["denominator"] * rows["spread"]
    rows["n_samples"] = groups["there"].sum().to_numpy()
    rows["n_missing"] = groups.size().to_numpy() - rows["n_samples"]
    return rows.assign(stratum=rows["task"], component="")


def evaluations(samples: pd.DataFrame) -> Measured:
    """Average the recorded network evaluations; samples from elsewhere have none, with the reason.

    Args:
        samples: The samples table; its column ``nfe`` is read.
    """
    counted = samples.assign(value=samples["nfe"].astype("float64"))
    there = counted[counted["status"] == "ok"]
    unknown = {
        (str(model), str(sampler), int(str(steps))): "not known: the samples were made elsewhere"
        for (model, sampler, steps), own in there.groupby(CELL)
        if own["value"].isna().all()
    }
    return Measured(rows=per_prompt(counted), kind="exact", withheld=unknown)


def ratio_per_prompt(table: pd.DataFrame) -> pd.DataFrame:
    """Sum numerator and denominator over the seeds of each prompt: the number is sums over sums.

    A mean of single ratios runs away where one denominator is almost 0; sums weigh each sample by
    its denominator. The variance over new seeds is that of numerator - R denominator, R the ratio
    of the cell (Cochran, Sampling Techniques, 1977, section 6.4).

    Args:
        table: Samples with columns ``top`` and ``bottom`` (NaN = unscored) and a column ``task``.
    """
    frame = table.assign(there=table["top"].notna() & table["bottom"].notna())
    frame[["top", "bottom"]] = frame[["top", "bottom"]].where(frame["there"])
    whole = frame.groupby(CELL, sort=True)[["top", "bottom"]].transform("sum")
    frame["rest"] = frame["top"] - whole["top"] / whole["bottom"] * frame["bottom"]
    groups = frame.sort_values([*CELL, "prompt_id", "seed_index"]).groupby(
        [*CELL, "prompt_id", "task"], sort=True
    )
    rows = groups.agg(
        numerator=("top", "sum"),
        denominator=("bottom", "sum"),
        spread=("rest", "var"),
        n_samples=("there", "sum"),
        planned=("there", "size"),
    ).reset_index()
    rows["within"] = rows["n_samples"] * rows["spread"]
    rows["n_missing"] = rows["planned"] - rows["n_samples"]
    return rows.assign(stratum=rows["task"], component="")


def cells(measured: Measured) -> dict[tuple[str, str, int], Cell]:
    """Arrange the rows of a metric as one table of sums for each cell, sorted.

    Raises:
        ValueError: A prompt has two rows for one component, or one for an unknown component.
    """
    rows = measured.rows
    strata = {name: i for i, name in enumerate(sorted(set(rows["stratum"])))}
    coded = rows.assign(
        stratum=rows["stratum"].map(strata),
        component=pd.Index(measured.components).get_indexer(pd.Index(rows["component"])),
    )
    found = {}
    for key, own in coded.groupby(CELL, sort=True):
        model, sampler, steps = map(str, key)
        found[model, sampler, int(steps)] = _cell(own, measured.components)
    return found


def _cell(rows: pd.DataFrame, components: Sequence[str]) -> Cell:
    """Spread rows over (prompt, component); strata and components are numbers already.

    With numpy alone: a run has hundreds of cells, and a pivot of pandas takes milliseconds.
    """
    prompts, first, prompt = np.unique(
        rows["prompt_id"].to_numpy(dtype=object), return_index=True, return_inverse=True
    )
    component = rows["component"].to_numpy()
    taken = np.zeros((len(prompts), len(components)), dtype=np.int64)
    np.add.at(taken, (prompt, component), 1)
    if (component < 0).any() or taken.max() > 1:
        raise ValueError(f"expected one row for each prompt and each of {tuple(components)}")

    def spread(column: str, missing: float) -> np.ndarray:
        values = rows[column].to_numpy(dtype=np.float64)
        table = np.full(taken.shape, missing)
        table[prompt, component] = np.where(np.isnan(values), missing, values)
        return table

    def most(column: str) -> "pd.Series[int]":
        counts = np.zeros(len(prompts), dtype=np.int64)
        np.maximum.at(counts, prompt, rows[column].to_numpy(dtype=np.int64))
        return pd.Series(counts, index=names)

    names = pd.Index(prompts, name="prompt_id")
    # A component that does not concern a prompt adds no variance; one that does and has a single
    # seed has an unknown one.
    concerned = spread("denominator", 0.0) > 0
    within = np.where(concerned, spread("within", np.nan), 0.0)
    num_scored = most("n_samples")
    return Cell(
        prompts=names,
        clusters=Clusters(
            numerator=spread("numerator", 0.0),
            denominator=spread("denominator", 0.0),
            strata=rows["stratum"].to_numpy(dtype=np.int64)[first],
            within=within,
            seeds=np.asarray(num_scored, dtype=np.float64),
        ),
        n_samples=num_scored,
        n_missing=most("n_missing"),
    )


def check_tasks(samples: pd.DataFrame, known: Iterable[str], benchmark: str) -> None:
    """Refuse samples of tasks that a benchmark does not know.

    Raises:
        UserError: Names the unknown tasks and the known ones.
    """
    known = tuple(known)
    foreign = sorted(set(samples["task"]) - set(known))
    if foreign:
        raise UserError(
            f"benchmarks.{benchmark}: prompts of unknown task '{foreign[0]}'. "
            f"Available: {', '.join(known)}."
        )
