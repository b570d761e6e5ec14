"""The committed report: table, plot, and what it proves."""

from collections.abc import Sequence
from pathlib import Path

from rcm_bench.diversity_calibration.measure import Rank, Row

_HEAD = """\
# Measures of diversity against the truth

Made by `python -m rcm_bench.diversity_calibration` ({made}).

Generators of the shapes laboratory draw scenes of the world's own law and collapse by a known
dose ({generators} generators, {prompts} prompts, {samples} samples of each). The truth is the
share of the law that a generator covers: 1 less the total variation of colour, place, size and
tone. It needs no image and no network.

**Rank correlation** (Spearman) of each measure with the truth over all clean generators, with a
95 % bootstrap interval over prompts; and over generators of one failure alone. 1 means that the
measure orders generators as the truth does.
"""
_TAIL = """
## Noise is taken for diversity

Ratio to the teacher of generators with **one image per prompt** (true diversity none) as noise is
added, and of a generator without collapse under noise 0.1. Read every measure of diversity beside
a measure of quality.

{noise}

## What this proves, and what not

- Measures, sums per prompt, ratios and intervals work end to end on samples whose diversity is
  known: a generator with one image per prompt has 0 in pairwise distance, 1 in Vendi score.
- No network here has seen a photograph: pixels, random weights of real architectures loaded as
  real ones are, and the laboratory's own teacher. **Nothing is said about how well DINOv2, CLIP
  or LPIPS with their real weights see the diversity of photographs.** Another draw of random
  weights gives other numbers.
- The truth is one number for many failures. `shrink` leaves everything possible within a smaller
  range, `modes` leaves a few scenes, `color`, `place`, `background` freeze one attribute. A
  measure that sees background before colour orders generators differently from the truth although
  it is right about each kind: compare the column *all* with the others.
- Coverage and recall see all prompts at once with {total} samples a side; by design they forgive
  what repeats within a neighbourhood.

![Dose and response](dose_response.svg)

`ranks.csv` and `response.csv` hold all figures.
"""


def readme(
    rows: Sequence[Row], ranks: Sequence[Rank], *, prompts: int, samples: int, made: str
) -> str:
    """Return the page in Markdown."""
    clean = {row.generator for row in rows if "noise" not in row.generator}
    head = _HEAD.format(made=made, generators=len(clean), prompts=prompts, samples=samples)
    tail = _TAIL.format(noise=_noise_table(rows), total=prompts * samples)
    return head + "\n" + _rank_table(ranks) + tail


def _rank_table(ranks: Sequence[Rank]) -> str:
    groups = list(dict.fromkeys(rank.group for rank in ranks))
    found = {(r.features, r.measure, r.group): r for r in ranks}
    lines = [f"| Features | Measure | {' | '.join(groups)} |", "|---|---|" + "---|" * len(groups)]
    for features, measure in dict.fromkeys((r.features, r.measure) for r in ranks):
        cells = [_spelled(found[features, measure, group]) for group in groups]
        lines.append(f"| {features} | {measure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spelled(rank: Rank) -> str:
    return f"{rank.spearman:.2f} ({rank.low:.2f} to {rank.high:.2f})"


def _noise_table(rows: Sequence[Row]) -> str:
    noisy = list(dict.fromkeys(r.generator for r in rows if "noise" in r.generator))
    columns = ["modes 1", *(name for name in noisy if name.startswith("modes")), *noisy[:1]]
    lines = [
        f"| Features | Measure | {' | '.join(columns)} |",
        "|---|---|" + "---|" * len(columns),
    ]
    found = {(r.features, r.measure, r.generator): r for r in rows}
    for features, measure in dict.fromkeys((r.features, r.measure) for r in rows):
        if measure in ("pairwise", "vendi"):
            cells = [f"{found[features, measure, name].ratio:.2f}" for name in columns]
            lines.append(f"| {features} | {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw each measure over the truth, one panel for each measure, one mark for each kind."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    measures = ["pairwise", "vendi", "coverage", "recall"]
    features = list(dict.fromkeys(row.features for row in rows))
    marks = {"none": "*", "modes": "o", "weight": "s", "shrink": "^"}
    with mpl.rc_context({"svg.hashsalt": "rcm_bench", "font.size": 8}):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        for place, measure in enumerate(measures, 1):
            axes = figure.add_subplot(2, 2, place)
            for number, name in enumerate(features):
                own = [r for r in rows if (r.features, r.measure) == (name, measure)]
                own = [r for r in own if "noise" not in r.generator]
                for kind in dict.fromkeys(r.kind for r in own):
                    some = [r for r in own if r.kind == kind]
                    axes.plot(
                        [r.truth for r in some],
                        [r.value if r.ratio != r.ratio else r.ratio for r in some],
                        marks.get(kind, "x"),
                        color=f"C{number}",
                        markersize=4,
                        label=name if kind == "none" else None,
                    )
            between = measure in ("coverage", "recall")
            axes.set_xlabel("share of the law that is covered (truth)")
            axes.set_ylabel(measure if between else f"{measure}, ratio to the teacher")
            if place == 1:
                axes.legend(fontsize=6)
        figure.supxlabel(
            "star none, circle few modes, square one mode, triangle shrink, x attribute"
        )
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
