"""VBench's scores of single videos to sums per prompt: every dimension, and the totals of them.

A total is affine in the raw dimensions, sum_c (a_c R_c + b_c). With C components, each one's
numerators are turned into C (a_c numerator + b_c denominator), so that the total is a mean of
component ratios, as every number of the harness, and has the same intervals and tests.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from rcm_bench.measured import CELL, Measured, ratio_per_prompt, scored
from rcm_bench.vbench.dimensions import STATIC_VIDEOS
from rcm_bench.vbench.editions import TEXT, Edition
from rcm_bench.vbench.prompts import FLICKERING

Mode = Literal["vbench_standard", "custom_input"]
DROPPED = "VBench leaves it out"
"""How the reason begins where VBench's own rule leaves a video out; anything else is missing."""


def measure(
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    dimensions: Sequence[str],
    *,
    mode: Mode = "vbench_standard",
    edition: Edition = TEXT,
) -> dict[str, Measured]:
    """Return each dimension's sums per prompt, and under VBench's own prompts the totals.

    Args:
        samples: The samples table; ``task`` names the dimensions of a prompt, joined by ``+``.
        scores: The scores table; each scorer's metric is the dimension.
        dimensions: What the suite asks for.
        mode: With ``"custom_input"`` every dimension concerns every video and there is no total.
        edition: Whose totals.
    """
    tables = {name: dimension_table(samples, scores, name, mode, edition) for name in dimensions}
    tables = {name: table for name, table in tables.items() if len(table)}
    rows = {name: ratio_per_prompt(table) for name, table in tables.items()}
    found: dict[str, Measured] = {}
    if mode == "vbench_standard":
        lacking = _lacking(tables)
        there = [edition.constants[name] for name in tables if name in edition.constants]
        parts = {"total", *(constant.part for constant in there)} if there else set()
        asked = [total for total in edition.totals if total in parts]
        found = {total: _total(total, rows, lacking, edition) for total in asked}
    for name, own in rows.items():
        found[name] = Measured(rows=own, kind=edition.kind_of(name))
    return found


def dimension_table(
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    name: str,
    mode: Mode = "vbench_standard",
    edition: Edition = TEXT,
) -> pd.DataFrame:
    """Join the videos that a dimension is owed for with their sums; what it drops is left out.

    Args:
        samples: The samples table.
        scores: The scores table.
        name: The dimension.
        mode: As in `measure`.
        edition: As in `measure`.

    Returns:
        The samples with columns ``value``, ``reason``, and ``top`` and ``bottom``: numerator and
        denominator. The stratum of each, ``task``, is the group of prompts of the dimension: two
        prompts belong to two groups, and under that of their first row they would be a stratum of
        two in Quality, which gives no interval.
    """
    own = samples
    if mode == "vbench_standard":
        concerned = {task: name in str(task).split("+") for task in set(samples["task"])}
        own = samples[samples["task"].map(concerned).astype(bool)]
        group = edition.group_of(name)
        own = own if group is None else own.assign(task=group)
    table = scored(own, scores, name)
    if name == FLICKERING:
        table = _static(_first_static(table))
    parts = [_parts(v, d) for v, d in zip(table["value"], table["details"], strict=True)]
    return table.assign(
        top=np.array([top for top, _ in parts], dtype=np.float64),
        bottom=np.array([bottom for _, bottom in parts], dtype=np.float64),
    )


def _parts(value: float, details: object) -> tuple[float, float]:
    """Return numerator and denominator of one video: its frames, or the value and 1."""
    if np.isnan(value):
        return np.nan, np.nan
    found = json.loads(details) if isinstance(details, str) else {}
    return float(found.get("numerator", value)), float(found.get("denominator", 1.0))


def _first_static(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out all but the first five static videos of each prompt, where a scorer says which are.

    A native scorer sees one video at a time and says ``static`` in its details; which five count is
    decided here, in the order of VBench's filter: of file names, so 0, 1, 10, 11, ..., 2, 20.
    """
    details = [json.loads(d) if isinstance(d, str) else {} for d in table["details"]]
    told = [found.get("static") for found in details]
    if all(flag is None for flag in told):
        return table
    order = [f"{index}.mp4" for index in table["seed_index"]]
    flagged = table.assign(told=told, order=order).sort_values("order", kind="stable")
    static = flagged["told"].eq(True)
    rank = static.groupby([flagged[name] for name in (*CELL, "prompt_id")]).cumsum()
    spare = flagged["told"].notna() & ~(static & (rank <= STATIC_VIDEOS))
    flagged.loc[spare, "value"] = np.nan
    flagged.loc[spare, "reason"] = f"{DROPPED}: not among the first five static videos"
    return flagged.drop(columns=["told", "order"]).sort_index()


def _static(table: pd.DataFrame) -> pd.DataFrame:
    """Keep five videos of each prompt: those that count, and of the others as many as lack.

    25 videos are made so that five static ones are among them; the others are not missing.
    """
    dropped = table["reason"].astype(str).str.startswith(DROPPED)
    ordered = table.assign(spare=dropped).sort_values(["spare", "seed_index"], kind="stable")
    rank = ordered.groupby([*CELL, "prompt_id"]).cumcount()
    kept = ordered[~ordered["spare"] | (rank < STATIC_VIDEOS)]
    return kept.drop(columns="spare").sort_index()


def _keys(table: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Return the cell of each row."""
    columns = (table[name] for name in CELL)
    return [(str(m), str(s), int(n)) for m, s, n in zip(*columns, strict=True)]


def _lacking(tables: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str, int], dict[str, int]]:
    """Count, by cell and dimension, the videos without a score that no rule leaves out."""
    found: dict[tuple[str, str, int], dict[str, int]] = {}
    for name, table in tables.items():
        left_out = table["reason"].astype(str).str.startswith(DROPPED)
        gone = table[table["value"].isna() & ~left_out]
        for key in _keys(gone):
            counts = found.setdefault(key, {})
            counts[name] = counts.get(name, 0) + 1
    return found


def _total(
    total: str,
    rows: Mapping[str, pd.DataFrame],
    lacking: Mapping[tuple[str, str, int], Mapping[str, int]],
    edition: Edition,
) -> Measured:
    """Write a total as a mean over its dimensions; say which cells must not print it.

    With slope a and C dimensions, numerators become C a (numerator - low denominator), whose
    variance over seeds is (C a)^2 times the dimension's own. A cell that lacks videos of a
    dimension has no rows of it at all, so that nothing that reads the sums (a gate, a baseline
    file) can make a total of the rest.
    """
    constants = edition.constants
    components = tuple(n for n, c in constants.items() if total in ("total", c.part))
    base = edition.combine(np.zeros(len(constants)))[total]
    slopes = edition.combine(np.eye(len(constants)))[total] - base
    parts = []
    for name in components:
        if name in rows:
            scale = len(components) * slopes[list(constants).index(name)]
            own = rows[name]
            own = own.assign(
                numerator=scale * (own["numerator"] - constants[name].low * own["denominator"]),
                within=scale**2 * own["within"],
                component=name,
            )
            parts.append(own[[name not in lacking.get(key, {}) for key in _keys(own)]])
    withheld = {}
    for key, counts in lacking.items():
        own_counts = {name: n for name, n in counts.items() if name in components}
        if own_counts:
            said = ", ".join(f"{n} videos in {name}" for name, n in own_counts.items())
            withheld[key] = f"no total: no score for {said}"
    joined = pd.concat(parts, ignore_index=True)
    return Measured(rows=joined, components=components, withheld=withheld)
