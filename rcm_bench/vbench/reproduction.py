"""The tables of docs/reproduce_wan.md: what each stage costs, shows, and must come out as.

    python -m rcm_bench.vbench.reproduction

Expected figures and speeds are published ones; intervals are bounds (rcm_bench.statistics.
reproduction). What stands between the page's marks is written again; the rest is kept.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcm_bench.errors import UserError
from rcm_bench.statistics.reproduction import (
    Together,
    largest_difference,
    seed_variance,
    total_variance,
)
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, TOTALS
from rcm_bench.text_files import read_text
from rcm_bench.vbench.presets import PRESETS
from rcm_bench.vbench.prompts import FLICKERING

PAGE = Path("docs/reproduce_wan.md")
PRESET = PRESETS["gpt-4o"]
SOURCE = "arXiv 2510.08431v3 Table 2"
CELLS = (("teacher", 50), ("rCM", 4), ("rCM", 2), ("rCM", 1))
FRAMES = 81
TWINS = 2
"""Prompts that stand in two groups each; they are sampled once."""
QUALITY = tuple(name for name, d in DIMENSIONS.items() if d.part == "quality")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of the kit.

    Args:
        title: What is run.
        command: How.
        videos: Of each model at each number of steps.
        shows: Which figure to expect, and where it must lie.
    """

    title: str
    command: str
    videos: int
    shows: str


def num_videos(dimensions: Iterable[str], videos: int) -> int:
    """Return how many videos the prompts of some dimensions need.

    Args:
        dimensions: Their names.
        videos: Of each prompt; of flickering as many times more as the preset has.
    """
    chosen = set(dimensions)
    found = 0
    for prompts, names in GROUPS:
        if chosen & set(names):
            more = PRESET.flickering_videos // PRESET.videos if FLICKERING in names else 1
            found += prompts * videos * more
    return found - (TWINS * videos if chosen == set(DIMENSIONS) else 0)


def stages() -> list[Stage]:
    """Return the stages, cheapest first."""
    first = "subject_consistency"
    return [
        Stage(
            title="1. one dimension, one video of each prompt",
            command="VIDEOS=1 python -m rcm_bench run reproduce_wan",
            videos=num_videos([first], 1),
            shows="no figure is printed for a dimension; that all runs, and videos to look at",
        ),
        Stage(
            title="2. one dimension whole",
            command="python -m rcm_bench run reproduce_wan",
            videos=num_videos([first], PRESET.videos),
            shows="no figure is printed; a second run, or another's, lies within the third table; "
            "a pilot for `power`",
        ),
        Stage(
            title="3. Quality",
            command="python -m rcm_bench run reproduce_wan_quality",
            videos=num_videos(QUALITY, PRESET.videos),
            shows="Quality, within the second table",
        ),
        Stage(
            title="4. everything",
            command="python -m rcm_bench run vbench_wan",
            videos=num_videos(DIMENSIONS, PRESET.videos),
            shows="Total, Quality and Semantic, within the second table",
        ),
    ]


def published(metric: str, method: str, steps: int) -> float:
    """Return a published number of Wan2.1 1.3B."""
    from rcm_bench.published import published_scores

    table = published_scores()
    row = table[
        table["source"].eq(SOURCE)
        & table["params"].eq("1.3B")
        & table["metric"].eq(metric)
        & table["method"].eq(method)
        & table["steps"].eq(steps)
    ]
    (value,) = row["value"]
    return float(value)


def stage_table() -> str:
    """Return costs and purpose of every stage; hours by the published frames per second."""
    seconds = [FRAMES / published("throughput", *cell) for cell in CELLS]
    rows = [
        [stage.title, f"`{stage.command}`", f"{stage.videos:,}"]
        + [f"{stage.videos * each / 3600:.1f}" for each in seconds]
        + [stage.shows]
        for stage in stages()
    ]
    head = ["stage", "command", "videos of each", "teacher, h", "4 steps, h", "2 steps, h"]
    return _table([*head, "1 step, h", "what to expect"], rows)


def total_table() -> str:
    """Return expected totals on the whole set, and what new seeds alone can do to them."""
    rows = []
    for method, steps in CELLS:
        values = {name: published(name, method, steps) for name in TOTALS}
        quality, semantic = values["quality"] / 100, values["semantic"] / 100

        def half(
            name: str, videos: int, together: Together, q: float = quality, s: float = semantic
        ) -> float:
            return 100 * largest_difference(total_variance(name, q, s, videos, together))

        for name in TOTALS:
            sure = half(name, PRESET.videos, "grouped")
            rows.append(
                [
                    f"{method}, {steps} {'step' if steps == 1 else 'steps'}",
                    name.capitalize(),
                    f"{values[name]:.2f}",
                    f"{values[name] - sure:.1f} to {min(values[name] + sure, 100):.1f}",
                    f"{half(name, PRESET.videos, 'independent'):.1f}",
                    f"{half(name, 1, 'alike'):.1f}",
                ]
            )
    head = ["model", "number", "expected", "must lie in", "± if dimensions were independent"]
    return _table([*head, "± if all were alike"], rows)


def dimension_table() -> str:
    """Return for each dimension its cost and by how much two runs can differ."""
    teacher, student = (FRAMES / published("throughput", *cell) for cell in CELLS[:2])
    rows = []
    for prompts, names in GROUPS:
        for name in names:
            videos = num_videos([name], PRESET.videos)
            five, one = (
                [largest_difference(seed_variance(m, prompts, k)) for m in (0.5, 0.8, 0.95)]
                for k in (PRESET.videos, 1)
            )
            hours = [f"{videos * each / 3600:.1f}" for each in (teacher, student)]
            widths = [f"{width:.3f}" for width in (*five, one[-1])]
            rows.append([f"`{name}`", f"{prompts}", f"{videos:,}", *hours, *widths])
    head = ["dimension", "prompts", "videos", "teacher, h", "4 steps, h"]
    return _table([*head, "± at 0.5", "± at 0.8", "± at 0.95", "± at 0.95, one video"], rows)


TABLES = {"stages": stage_table, "totals": total_table, "dimensions": dimension_table}


def written(page: str) -> str:
    """Return a page with its tables made again.

    Args:
        page: Markdown with each table between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Raises:
        UserError: A mark is missing.
    """
    for name, make in TABLES.items():
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(first)
        _, closed, after = rest.partition(last)
        if not found or not closed:
            raise UserError(f"expected {first.strip()} and {last} in the page")
        page = f"{before}{first}{make()}{last}{after}"
    return page


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main(arguments: Sequence[str]) -> None:
    """Write the page again."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.vbench.reproduction")
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    path: Path = parser.parse_args(arguments).page
    path.write_text(written(read_text(path)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
