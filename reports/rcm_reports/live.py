"""The page of a run that is going on: how far it is, how fast, how long still, what failed.

It asks the browser to load it again every few seconds, without a script, and the report takes its
place when the run is done.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rcm_reports.formatting import count, duration, visible

MAX_FAILURES = 8
SECONDS = {"running": 5, "stopped": 20}


class LiveCell(NamedTuple):
    """How far one model at one number of steps is."""

    model: str
    steps: int
    asked: int
    sampled: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveState:
    """How far a run is.

    Args:
        suite: Name of the suite.
        stage: What is being done, such as ``"Sampling"``.
        done: Units of this stage that are done.
        total: Units of this stage in all; 0 where they are not counted.
        unit: Plural of the unit.
        rate: Units per second lately; None if unknown.
        left: Seconds left of this stage; None if unknown.
        cells: One for each model and number of steps.
        failures: What failed, and how often, the most frequent first.
        at: The time, as a reader in any zone understands it.
        stopped: Why the run stands still; empty while it goes on.
        command: What goes on with it.
    """

    suite: str
    stage: str
    done: int
    total: int
    unit: str
    rate: float | None
    left: float | None
    cells: Sequence[LiveCell]
    failures: Mapping[str, int]
    at: str
    stopped: str
    command: str


def render_live(state: LiveState, folder: Path) -> Path:
    """Put the page in the place of the report, whole or not at all."""
    style = asset("style.css") + asset("extra.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    failures = sorted(state.failures.items(), key=lambda item: (-item[1], item[0]))
    page = (
        ENVIRONMENT.get_template("live.html.jinja").render(
            state=state,
            suite=visible(state.suite, 120),
            stage=visible(state.stage, 120),
            stopped=visible(state.stopped, 400),
            command=visible(state.command, 400),
            seconds=SECONDS["stopped" if state.stopped else "running"],
            pace=_pace(state),
            num_failed=sum(state.failures.values()),
            failures=[(times, visible(said, 300)) for said, times in failures[:MAX_FAILURES]],
            style=Markup(style),  # noqa: S704
            csp=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'",
        )
    )  # fmt: skip
    return put(page, folder)


def put(page: str, folder: Path) -> Path:
    """Write a page as ``index.html`` of a folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".index.html.{os.getpid()}.tmp"
    temporary.write_text(page, encoding="utf-8", newline="\n")
    path = folder / "index.html"
    os.replace(temporary, path)
    return path


def _pace(state: LiveState) -> str:
    parts = []
    if state.total:
        parts.append(f"{count(state.done)} of {count(state.total)} {state.unit}")
    if state.rate and not state.stopped:
        parts.append(f"{state.rate:.3g} {state.unit} per second")
    if state.left is not None and not state.stopped:
        parts.append(f"about {duration(state.left)} left")
    return ", ".join(parts)


def asset(name: str) -> str:
    """Return a file of the package's templates."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


ENVIRONMENT = Environment(
    loader=PackageLoader("rcm_reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["visible"] = visible
