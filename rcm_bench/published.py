"""Published numbers beside a run's own, with what differs in protocol.

They stand beside a run only where it used the benchmark's official prompts: the laboratory has its
own, and its GenEval score is another quantity than the one in papers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rcm_bench.canonical import digest_of
from rcm_bench.shipped import shipped

OFFICIAL_PROMPTS = {"geneval": "b41eb832bf333109c41de536a0d3e0a365c350fb8c263f9eb723b79f69712d05"}
"""Digest of the prompt keys of each benchmark's official set."""
CONVENTIONS: Mapping[str, Mapping[str, Any]] = {
    "geneval": {
        "samples per prompt": 4,
        "scorer": "Mask2Former (mmdet) and CLIP ViT-L/14",
    },
}
"""What the benchmark itself lays down; evaluations that depart from it say so in their note."""
NOT_STATED = "not stated: rewriting of prompts, seeds, number format, interval"
COLUMNS = [
    *("origin", "benchmark", "metric", "model", "method", "params", "steps", "evaluations"),
    *("resolution", "value", "low", "high", "unit", "source", "differs", "note"),
]
_TEXT = ("model", "method", "params", "resolution", "metric", "unit", "source", "note", "benchmark")
NAN = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceTable:
    """A run's numbers beside published ones.

    Args:
        table: Columns as in ``COLUMNS``; ``origin`` is "this run" or "published"; ``differs`` says
            what a published number was measured under that the run was not. Empty if none fits.
        remarks: Why a benchmark's published numbers are not shown.
    """

    table: pd.DataFrame
    remarks: list[str]


def published_scores() -> pd.DataFrame:
    """Return all published numbers that the package knows, each with its source.

    Columns benchmark, model, method, params, steps, guidance_nfe, resolution, metric, value, unit,
    source, note. They are as printed: two totals do not follow from their own parts, which their
    notes say.
    """
    return pd.read_csv(
        shipped("data") / "published_scores.csv",
        dtype=dict.fromkeys(_TEXT, str),
        keep_default_na=False,
        na_values={"guidance_nfe": [""]},
    )


def measured_scores() -> pd.DataFrame:
    """Return all published numbers under the names that the harness measures them by.

    A paper that prints both calls VBench's Total of text to video ``t2v_total``. Its ``i2v_total``
    keeps that name, which no benchmark of a suite has: VBench-I2V is another benchmark, and its
    Total is never set beside one of text to video.
    """
    scores = published_scores()
    own = scores["benchmark"].eq("vbench") & scores["metric"].eq("t2v_total")
    return scores.assign(metric=scores["metric"].mask(own, "total"))


def write_published(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV; text that a spreadsheet would take for a formula is guarded."""
    from rcm_reports.escaping import csv_text

    # As objects: the text type that pandas takes where pyarrow is installed holds no surrogate.
    guarded = {
        name: pd.Series([csv_text(v) if isinstance(v, str) else v for v in column], dtype=object)
        for name, column in table.items()
    }
    text = pd.DataFrame(guarded).to_csv(index=False, lineterminator="\n")
    temporary = path.with_name(f".{path.name}.tmp")
    # A lone surrogate cannot be written as UTF-8.
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    os.replace(temporary, path)


def prompts_mark(prompt_keys: list[str]) -> str:
    """Return a digest of a prompt set by the keys of its prompts, whatever their order."""
    return digest_of(sorted(prompt_keys))


def reference_table(
    measurements: pd.DataFrame, protocol: Mapping[str, Any], prompt_keys: list[str]
) -> ReferenceTable:
    """Put published numbers beside a run's measurements, where they are of the same benchmark.

    Args:
        measurements: Columns benchmark, metric, model, steps, value, low, high, unit.
        protocol: The run's protocol, as in its manifest.
        prompt_keys: Keys of its prompts.
    """
    scores = measured_scores()
    mark = prompts_mark(prompt_keys)
    parts, remarks = [], []
    for benchmark, own in measurements.groupby("benchmark", sort=False):
        known = scores[scores["benchmark"] == benchmark]
        known = known[known["metric"].isin(own["metric"])]
        if not len(known):
            continue
        if OFFICIAL_PROMPTS.get(str(benchmark)) != mark:
            remarks.append(
                f"published numbers of '{benchmark}' are not shown: this run's {len(prompt_keys)} "
                "prompts are not the benchmark's own, so that the same name is another quantity"
            )
            continue
        parts += [_own_rows(own), _published_rows(known, protocol)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    return ReferenceTable(table=table[COLUMNS], remarks=remarks)


def _own_rows(own: pd.DataFrame) -> pd.DataFrame:
    columns = ["benchmark", "metric", "model", "steps", "value", "low", "high", "unit"]
    blank = dict.fromkeys(("method", "params", "resolution", "source", "differs", "note"), "")
    return own[columns].assign(origin="this run", evaluations=NAN, **blank)


def _published_rows(known: pd.DataFrame, protocol: Mapping[str, Any]) -> pd.DataFrame:
    renamed = known.rename(columns={"guidance_nfe": "evaluations"})
    return renamed.assign(
        origin="published",
        low=NAN,
        high=NAN,
        differs=[differs(str(row.benchmark), str(row.resolution), protocol)
                 for row in known.itertuples()],
    )  # fmt: skip


def differs(benchmark: str, resolution: str, protocol: Mapping[str, Any]) -> str:
    """Say in words what a published number was measured under that this run was not."""
    scorer = protocol.get("scorers", {}).get(benchmark, {}).get("scorer")
    here = {
        "samples per prompt": protocol.get("prompts", {}).get("samples_per_prompt"),
        "scorer": scorer,
    }
    said = [
        f"{part} {there}, here {here[part]}"
        for part, there in CONVENTIONS.get(benchmark, {}).items()
        if here[part] != there
    ]
    sizes = [_size(text) for text in protocol.get("resolution", [])]
    if resolution and sizes != [resolution]:
        said.append(f"resolution {resolution}, here {' and '.join(sizes) or 'not recorded'}")
    return "; ".join([*said, NOT_STATED])


def _size(text: str) -> str:
    """Turn ``[height, width]`` of a protocol into ``widthxheight`` as papers print it."""
    height, mark, width = text.strip("[]").partition(", ")
    return f"{width}x{height}" if mark else text
