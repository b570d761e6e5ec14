"""report: again from the stored scores; neither samples nor times anything."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.errors import UserError, unknown
from rcm_bench.finish import OpenRun, Outcome, conclude, open_run, report_input

if TYPE_CHECKING:
    from rcm_reports import ReportInput

FORMATS = ("html", "markdown", "latex", "csv", "json")


def report(run: str | Path) -> Outcome:
    """Write tables, plots and the page of a run again.

    Args:
        run: A run folder.

    Raises:
        UserError: It is no run folder, or holds no samples.
    """
    return conclude(open_run(Path(run)))


def document(runs: Sequence[str | Path], kind: str) -> str:
    """Return the report of one run, or of several runs side by side, as one document of text.

    Args:
        runs: Run folders; all but the first are paired with the teacher of the first.
        kind: ``"markdown"``, ``"latex"``, ``"csv"`` or ``"json"``.

    Raises:
        UserError: There is no such format, or the runs do not fit together.
    """
    from rcm_reports import DOCUMENTS
    from rcm_reports import document as written

    if kind not in DOCUMENTS:
        raise UserError(f"--format: {unknown('format', kind, DOCUMENTS)}")
    return written(_input(runs), kind)


def pages(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write tables, plots and the page of one run or of several side by side into a folder.

    Args:
        runs: Run folders; all but the first are paired with the teacher of the first.
        out: Folder to write into; it must not be a run itself.

    Raises:
        UserError: The runs do not fit together; it says why.
    """
    from rcm_reports import render, write_plots, write_tables

    folder = free_folder(out)
    found = _input(runs)
    write_tables(found, folder / "tables")
    write_plots(found, folder / "plots")
    return render(found, folder / "report")


def history(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the page that follows one suite over time.

    Args:
        runs: Run folders of one suite, or folders of such runs.
        out: Folder to write into; it must not be a run itself.

    Raises:
        UserError: They are not runs of one suite, or only one.
    """
    from rcm_bench import timeline
    from rcm_reports.history import render_history

    folder = free_folder(out)
    return render_history(timeline.history(timeline.find_runs(runs)), folder)


def write_text(path: Path, text: str) -> Path:
    """Write a document whole or not at all."""
    if path.is_dir():
        raise UserError(f"--out {path}: expected a file to write, got a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)
    return path


def check_call(num_runs: int, kind: str, out: Path | None, *, history: bool) -> None:
    """Refuse what does not go together on the command line.

    Raises:
        UserError: It says what to add or to leave out.
    """
    if kind not in FORMATS:
        raise UserError(f"--format: {unknown('format', kind, FORMATS)}")
    if history and kind != "html":
        raise UserError(f"--history: is a page; leave out --format {kind}")
    if history and out is None:
        raise UserError("--history: give --out, the folder to write the page into")
    if num_runs > 1 and kind == "html" and out is None:
        raise UserError("a report of several runs: give --out, the folder to write it into")


def free_folder(out: str | Path) -> Path:
    """Return a folder that a report may be written into.

    Raises:
        UserError: It is a file, or a run, whose own report must stay.
    """
    folder = Path(out)
    if folder.is_file():
        raise UserError(f"--out {folder}: expected a folder, got a file")
    if (folder / "manifest.json").exists():
        raise UserError(
            f"--out {folder}: is a run folder and has a report of its own; give another"
        )
    return folder


def _input(runs: Sequence[str | Path]) -> "ReportInput":
    opened = opened_runs(runs)
    if len(opened) == 1:
        return report_input(opened[0], opened[0].store.index())
    from rcm_bench.joining import join

    return join(opened)


def opened_runs(runs: Sequence[str | Path]) -> list[OpenRun]:
    """Open runs, each once.

    Raises:
        UserError: One is no run, or is named twice.
    """
    opened = [open_run(Path(run)) for run in runs]
    places = [run.store.root.resolve() for run in opened]
    for position, place in enumerate(places):
        if place in places[:position]:
            raise UserError(f"{runs[position]}: the same run is named twice")
    return opened
