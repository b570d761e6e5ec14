"""What a run lacks, in words: limits, missing samples, failures, degenerate samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rcm_reports.formatting import count, plural
from rcm_reports.inputs import ReportInput
from rcm_reports.study import TIME_BENCHMARKS

PLANNED_KEYS = ("num_items", "items", "num_samples", "samples")


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """How much of the plan is there.

    Args:
        planned: Samples that the plan asks for.
        present: Samples that are there.
        limit: The limit of the invocation, or None.
        failures: Number of failure records.
        degenerate: Samples that were flagged, such as one-coloured or non-finite ones.
        unscored: Finished samples to which no scorer gave a value.
    """

    planned: int
    present: int
    limit: int | None
    failures: int
    degenerate: int
    unscored: int

    @property
    def whole(self) -> bool:
        """Return True if nothing that the plan asks for is missing and no limit was set."""
        return self.limit is None and self.present >= self.planned

    def reason(self) -> str:
        """Return in words why there is no total, or nothing for a whole run."""
        planned = plural(self.planned, "planned sample")
        if self.limit is not None:
            limit = plural(self.limit, "prompt")
            return f"it was limited to {limit} and holds {count(self.present)} of {planned}"
        missing = self.planned - self.present
        return f"{count(missing)} of {planned} are missing" if missing > 0 else ""

    def remarks(self) -> list[str]:
        """Return what else a reader must know before trusting the numbers."""
        remarks = []
        if self.failures:
            remarks.append(f"{plural(self.failures, 'failure')} recorded; they are listed below.")
        if self.unscored:
            remarks.append(f"{plural(self.unscored, 'sample')} not scored; they count as missing.")
        if self.degenerate:
            remarks.append(
                f"{plural(self.degenerate, 'sample')} flagged as degenerate "
                "(one colour, not finite or frozen)."
            )
        return remarks


def completeness(report: ReportInput) -> Completeness:
    """Count what a run has and lacks."""
    samples = report.samples
    finished = samples.loc[is_good(samples), "item_id"] if len(samples) else pd.Series(dtype=str)
    plan = report.manifest.get("plan") or {}
    planned = next(
        (plan[key] for key in PLANNED_KEYS if isinstance(plan.get(key), int)), len(samples)
    )
    return Completeness(
        planned=int(planned),
        present=len(finished),
        limit=_limit(report.manifest, plan),
        failures=len(report.failures),
        degenerate=sum(map(_flagged, samples["flags"])) if "flags" in samples.columns else 0,
        unscored=_unscored(report, finished),
    )


def _unscored(report: ReportInput, finished: "pd.Series[str]") -> int:
    """Count finished samples without any score, unless nothing but time was asked for."""
    asked = {str(key).partition(".")[0] for key in report.manifest.get("metrics") or {}}
    if asked and asked <= TIME_BENCHMARKS:
        return 0
    valued: set[str] = set()
    if len(report.scores):
        valued = set(report.scores.dropna(subset=["value"])["item_id"])
    return int((~finished.isin(valued)).sum())


def is_good(samples: pd.DataFrame) -> "pd.Series[bool]":
    """Return which samples were finished."""
    if "status" not in samples.columns:
        return samples["blob"].notna()
    return samples["status"].isin(["ok", "done"]) & samples["blob"].notna()


def _limit(manifest: Mapping[str, Any], plan: Mapping[str, Any]) -> int | None:
    for source in (manifest, plan, manifest.get("invocation") or {}):
        if source.get("limit") is not None:
            return int(source["limit"])
    return None


def _flagged(value: Any) -> bool:
    if isinstance(value, str):
        return value not in ("", "[]")
    return isinstance(value, (list, tuple)) and len(value) > 0
