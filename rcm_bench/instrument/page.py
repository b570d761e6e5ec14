"""The report of the instrument: tables in Markdown and one picture."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rcm_bench.instrument.response import SAMPLES, SEED, Row

HEADLINES = ("geneval.overall", "diversity.overall", "detail.psnr", "detail.sharpness")
PARTS = ("diversity.color", "diversity.place", "diversity.size", "diversity.background")
FAULTS = {
    "wrong": "share of images that show another prompt of the task",
    "modes": "1 over the number of scenes that a prompt has",
    "weight": "probability that a sample is its prompt's one mode",
    "shrink": "how far samples are drawn to their prompt's mode",
    "color": "probability that the colours are the mode's",
    "place": "probability that places and sizes are the mode's",
    "background": "probability that the background is the mode's",
    "blur": "standard deviation of a Gaussian blur, px",
    "noise": "standard deviation of added noise, image range 0 to 1",
}


_HEAD = """\
# The instrument: what every metric of the laboratory answers to a known dose

Made by `python -m rcm_bench.instrument` ({made}; seed {seed}).

The world's own renderer stands for a model without a fault, and gets one by a known dose:

| fault | dose |
|---|---|
{faults}

{prompts} prompts, {samples} samples of each, as in the quickstart; scorer, benchmarks and paired
tests are those of a run. Each dose was drawn {repetitions} times on the same prompts, new seeds.

## The smallest dose that is found

The least dose from which on **every** dose was found in all {repetitions} repetitions by the
single test (p <= 5 %), with the mean change there; - where the greatest dose is not.
"""
_RESPONSE = """
## Response

Mean over the repetitions; in brackets what it should be, where that is known without the oracle:
1 - d^2 where two samples of a prompt share their mode with probability d^2, 1 - d for equal modes
and for shrinking, 1 - d for wrong scenes (a wrong scene may be right by chance, which adds a
little), the damaged image against the scene as drawn.
"""
_ALARMS = """
![Dose and response](response.svg)

Marks are measured, dashes expected.

## Nothing against nothing

The renderer without a fault against itself on other seeds; every difference that is found is a
false alarm. 5 % of single tests is what they are made for. It is always right, so that accuracies
cannot alarm here: `reports/gallery/aa` has a trained teacher's.
"""
_TAIL = """
## How to read it

- A metric answers to its own fault and should keep still at the others. Where it does not, the
  table says so: strong blur and noise reach accuracy through the oracle, which then misreads
  scenes; noise raises sharpness, which is energy, whoever put it there, while PSNR falls with
  both. `shrink` mixes layouts, whose objects may then overlap: such scenes are truly wrong.
- The renderer has no error of its own: its PSNR is that of rounding to 8 bits, and a trained
  network's is far lower. A dose of blur that is found here may drown in a student's own error: the
  doses are lower bounds of what is needed there.
- `reports/gallery/diversity_calibration` has measures of diversity in features of networks.

`response.csv` and `alarms.csv` hold all figures.
"""


def readme(rows: Sequence[Row], alarms: pd.DataFrame, *, prompts: int, made: str) -> str:
    """Return the page in Markdown."""
    head = _HEAD.format(
        made=made,
        seed=SEED,
        faults="\n".join(f"| {kind} | {about} |" for kind, about in FAULTS.items()),
        prompts=prompts,
        samples=SAMPLES,
        repetitions=rows[0].repetitions,
    )
    tables = [
        head,
        *_found_table(rows),
        _RESPONSE,
        *_response_table(rows, HEADLINES),
        "",
        *_response_table(rows, PARTS),
        _ALARMS,
        *_alarm_table(alarms),
    ]
    return "\n".join(tables) + "\n" + _TAIL


def smallest_found(rows: Sequence[Row], metric: str, kind: str) -> Row | None:
    """Return the least dose from which on every one was found each time; None without one."""
    own = sorted((r for r in rows if (r.metric, r.kind) == (metric, kind)), key=lambda r: -r.dose)
    least = None
    for row in own:
        if row.found < row.repetitions:
            break
        least = row
    return least


def _found_table(rows: Sequence[Row]) -> list[str]:
    lines = [f"| metric | {' | '.join(FAULTS)} |", "|---|" + "---|" * len(FAULTS)]
    for metric in dict.fromkeys(row.metric for row in rows):
        cells = []
        for kind in FAULTS:
            least = smallest_found(rows, metric, kind)
            cells.append("-" if least is None else f"{least.dose:.3g} ({least.difference:+.3g})")
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return lines


def _response_table(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    found = {(r.kind, r.dose, r.metric): r for r in rows}
    first = {metric: next(r for r in rows if r.metric == metric) for metric in metrics}
    lines = [
        f"| fault | dose | {' | '.join(metrics)} |",
        "|---|---|" + "---|" * len(metrics),
        "| none | | " + " | ".join(f"{first[metric].reference:.3f}" for metric in metrics) + " |",
    ]
    for kind, dose in dict.fromkeys((r.kind, r.dose) for r in rows):
        cells = [_cell(found[kind, dose, metric]) for metric in metrics]
        lines.append(f"| {kind} | {dose:.3g} | {' | '.join(cells)} |")
    return lines


def _cell(row: Row) -> str:
    known = "" if row.expected != row.expected else f" ({row.expected:.3f})"
    return f"{row.value:.3f}{known}"


def _alarm_table(alarms: pd.DataFrame) -> list[str]:
    lines = ["| test | alarms | of | rate | 95 % |", "|---|---|---|---|---|"]
    for row in alarms.itertuples(index=False):
        lines.append(
            f"| {row.what} | {row.alarms} | {row.tests} | {row.rate:.1%} | "
            f"{row.low:.1%} to {row.high:.1%} |"
        )
    return lines


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw every metric over the doses: marks as measured, dashes as expected."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = (*HEADLINES, *PARTS)
    with mpl.rc_context({"svg.hashsalt": "rcm_bench", "font.size": 7}):
        figure = Figure(figsize=(11, 5.5), layout="constrained")
        for place, metric in enumerate(panels, 1):
            axes = figure.add_subplot(2, 4, place)
            for number, kind in enumerate(FAULTS):
                own = sorted(
                    (r for r in rows if (r.metric, r.kind) == (metric, kind)), key=lambda r: r.dose
                )
                doses = [r.dose for r in own]
                color = f"C{number}"
                axes.plot(
                    doses, [r.value for r in own], "o-", color=color, ms=2.5, lw=1, label=kind
                )
                axes.plot(doses, [r.expected for r in own], "--", color=color, lw=0.8)
            axes.set_title(metric, fontsize=8)
            axes.set_xscale("log")
            axes.set_xlabel("dose")
            if metric == "detail.sharpness":
                axes.set_yscale("log")
        figure.axes[0].legend(fontsize=5.5)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
