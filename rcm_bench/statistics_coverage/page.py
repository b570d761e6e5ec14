"""The table's description: how much lies inside 93 to 97 %, and by name what does not."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from rcm_bench.statistics_coverage.alarms import Alarm
from rcm_bench.statistics_coverage.measure import HIGH, LOW, SEED, Row

DISCRETE = 0.02
"""From here on a single outcome at the 2.5 or 97.5 % point moves coverage by half the band."""
FEW_TELLING = 10


def verdict(row: Row) -> str:
    """Say whether a line lies inside, and what stands in the way where it does not."""
    if np.isnan(row.coverage):
        return "no interval"
    if LOW <= row.coverage <= HIGH:
        return "inside"
    side = "below" if row.coverage < LOW else "above"
    if row.step >= DISCRETE:
        return f"{side}: discrete, one outcome has {100 * row.step:.1f} %"
    if row.telling < FEW_TELLING:
        return f"{side}: few prompts tell ({row.telling:.1f}), the prior decides"
    margin = 2 * np.sqrt(row.coverage * (1 - row.coverage) / row.runs)
    near = row.coverage + margin >= LOW if side == "below" else row.coverage - margin <= HIGH
    return f"{side}: within two standard errors of the band" if near else f"{side}: unexplained"


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for line in lines:
        yield f"| {' | '.join(str(cell) for cell in line)} |"


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    head = ("number", "method", "lines", "inside", "below", "above", "no interval")
    lines = []
    for number, method in dict.fromkeys((row.number, row.method) for row in rows):
        own = [row for row in rows if (row.number, row.method) == (number, method)]
        found = np.array([row.coverage for row in own if not np.isnan(row.coverage)])
        inside = ((found >= LOW) & (found <= HIGH)).sum()
        counts = (inside, (found < LOW).sum(), (found > HIGH).sum(), len(own) - len(found))
        spread = (f"{v:.3f}" for v in (found.min(), found.mean(), found.max()))
        lines.append((number, method, len(own), *counts, *spread))
    return _table((*head, "least", "mean", "most"), lines)


def _outside(rows: Sequence[Row]) -> Iterator[str]:
    head = ("design", "number", "prompts", "truth", "telling", "step", "coverage", "why")
    lines = []
    for row in rows:
        why = verdict(row)
        if why not in ("inside", "no interval"):
            telling = "" if np.isnan(row.telling) else f"{row.telling:.1f}"
            numbers = (f"{row.truth:.3f}", telling, f"{row.step:.3f}", f"{row.coverage:.3f}")
            lines.append((row.design, row.number, row.prompts, *numbers, why))
    return _table(head, lines)


def _alarms(alarms: Sequence[Alarm]) -> Iterator[str]:
    lines = []
    for row in alarms:
        rate = f"{100 * row.alarms / row.trials:.1f} %"
        ends = f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
        lines.append((row.design, row.what, row.alarms, row.trials, rate, ends))
    return _table(("teacher against itself", "test", "alarms", "of", "rate", "95 %"), lines)


def readme(rows: Sequence[Row], alarms: Sequence[Alarm], made: str) -> str:
    """Return the description of a table.

    Args:
        rows: Lines of coverage.
        alarms: Lines of false alarms.
        made: What made it: versions and how long it took.
    """
    ours = [row for row in rows if row.ours and not np.isnan(row.coverage)]
    inside = sum(verdict(row) == "inside" for row in ours)
    refused = sum(verdict(row) == "no interval" for row in rows)
    return "\n".join([*_head(len(ours), inside, refused, made), *_body(rows, ours, alarms)]) + "\n"


def _head(lines: int, inside: int, refused: int, made: str) -> Iterator[str]:
    yield "# What the intervals cover"
    yield ""
    yield f"Of {lines} lines for the intervals that tables print, nominal 95 %, **{inside} lie"
    yield f"between {100 * LOW:.0f} and {100 * HIGH:.0f} %**; the others are named below with what"
    yield f"stands in the way. {refused} lines of fewer than 20 prompts get no interval."
    yield f"Made by `python -m rcm_bench.statistics_coverage`, seed {SEED};"
    yield f"{made}."
    yield ""


def _body(rows: Sequence[Row], ours: Sequence[Row], alarms: Sequence[Alarm]) -> Iterator[str]:
    yield from (
        "- **Accuracies**: 4 images a prompt; prompts have their own probabilities, beta",
        "  distributed with the correlation within prompts (0.6 and, between student and teacher,",
        "  0.7 assumed for large models; or as estimated from the laboratory's run, see below).",
        "- **Diversity, sharpness, PSNR**: prompts drawn with replacement from the real run, so",
        "  every oddity of its distribution is there; the first two are ratios of sums whose",
        "  denominators change with what was found in the images.",
        "- **VBench**: 946 prompts in 11 groups, 5 videos each, dimensions of a group correlated;",
        "  colour drops videos, more where the model is worse.",
        "",
        "`laboratory.csv` holds the prompt sums of the real run: `suites/lab.yaml`, 616 prompts,",
        "4 seeds, one H100, commit dc6c34e, written by `python -m rcm_bench.statistics_coverage",
        "--from RUN`. `coverage.csv` and `alarms.csv` hold every line.",
        "",
    )
    yield from _summary(rows)
    yield from ("", "## Outside 93 to 97 %", "")
    yield from (
        "`telling`: prompts whose images are not all right or all wrong, of the model that has",
        "fewer. `step`: probability of the single outcome at the 2.5 or 97.5 % point of the",
        "number's distribution. Near the ceiling a handful of outcomes holds all probability, and",
        "coverage jumps by one of them as the truth moves: no rule can keep it in a narrower band.",
        "Where few prompts tell, the data cannot say how alike the images of a prompt are; a prior",
        "(0.35, worth 2 prompts) stands in, so the interval is on the wide side if they are less",
        "alike than that, and a little narrow if they are more.",
        "",
    )
    yield from _outside(ours)
    yield from ("", "## False alarms", "")
    yield from (
        "The sign-flip test by prompt (mid-p) at 5 %, on one law against itself with new seeds.",
        "It is discrete: where few prompts differ it alarms less often than asked. Holm is on the",
        "safe side where the tests of a family share their teacher, as they do here.",
        "",
    )
    yield from _alarms(alarms)
