"""The table of throughput for people: parts, memory, rates, speed-ups, published and roofline."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rcm_reports.escaping import markdown
from rcm_reports.formatting import DASH, NBSP, interval, known, number, steps_text, visible
from rcm_reports.inputs import ReportInput, records

TIMES = "\N{MULTIPLICATION SIGN}"
NOTE = (
    "Seconds are medians of interleaved rounds, one sample at a time. A sample's total is network "
    "and decoding; text is encoded once, and files are written while the next sample is made. "
    "Memory is the largest of a sample, without the weights of the models timed beside it. "
    "Published figures are the rCM paper's, on one H100. The roofline runs every operation at the "
    "GPU's dense bfloat16 peak. Deviation is the distance to float32 over that of diffusers as it "
    "comes: 1 is as far off, 1.1 is what is accepted."
)
_FOREIGN = ("Model", "Kernels")
Row = Mapping[str, Any]


class ThroughputTable(NamedTuple):
    """Heads of the columns that have anything, rows of cells, and why cells are empty."""

    note: str
    heads: list[str]
    rows: list[list[str]]
    reasons: list[str]


def throughput_table(report: ReportInput) -> ThroughputTable | None:
    """Return the table of a report, or None where throughput was not asked for."""
    rows = records(report.throughput)
    if not rows:
        return None
    said: dict[str, list[str]] = {}
    for row in rows:
        for reason in filter(None, _text(row.get("reasons")).split("; ")):
            said.setdefault(visible(reason, 200), []).append(
                f"{visible(row['model'], 40)} at {row['steps']}"
            )
    columns = {head: [write(row) for row in rows] for head, write in _COLUMNS.items()}
    told = {head: cells for head, cells in columns.items() if set(cells) != {DASH}}
    return ThroughputTable(
        note=NOTE,
        heads=list(told),
        rows=[list(cells) for cells in zip(*told.values(), strict=True)],
        reasons=[f"{reason} ({', '.join(cells)})" for reason, cells in said.items()],
    )


def throughput_lead(report: ReportInput) -> str:
    """Return one sentence on the fastest model and how it stands; empty where none was timed."""
    timed = [row for row in records(report.throughput) if known(row.get("frames_per_second"))]
    if not timed:
        return ""
    row = max(timed, key=lambda row: row["frames_per_second"])
    beside = []
    if known(row.get("speedup")):
        beside.append(f"{number(row['speedup'], 1)} times as many as its teacher, same kernels")
    if known(row.get("over_published")):
        published = number(row["published_frames_per_second"], 2)
        beside.append(f"{number(row['over_published'], 2)} times the published {published}")
    first = f"At {steps_text(row['steps'])} {visible(row['model'], 40)} makes {_rate(row)} frames/s"
    return ", ".join([first, *beside]) + "."


def throughput_markdown(table: ThroughputTable) -> str:
    """Return the table in Markdown, with the reasons under it."""
    lines = [
        f"| {' | '.join(table.heads)} |",
        "|" + "---|" * len(table.heads),
        *(f"| {' | '.join(_cells(table.heads, row))} |" for row in table.rows),
        "",
        table.note,
    ]
    if table.reasons:
        lines += ["", "Not there, and why:", "", *(f"- {markdown(why)}" for why in table.reasons)]
    return "\n".join(lines) + "\n"


def _cells(heads: list[str], row: list[str]) -> list[str]:
    """Return a row for Markdown; numbers are written here and need no escapes."""
    pairs = zip(heads, row, strict=True)
    return [markdown(cell) if head in _FOREIGN else cell for head, cell in pairs]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(key: str, decimals: int, unit: str = "", factor: float = 1) -> Callable[[Row], str]:
    def write(row: Row) -> str:
        value = row.get(key)
        return number(value * factor, decimals) + unit if known(value) else DASH  # type: ignore[operator]

    return write


def _rate(row: Row) -> str:
    if not known(row.get("frames_per_second")):
        return DASH
    return f"{number(row['frames_per_second'], 2)} {interval(row['low'], row['high'], 2)}"


def _beside(key: str, other: str, unit: str, factor: float = 1) -> Callable[[Row], str]:
    def write(row: Row) -> str:
        if not known(row.get(key)):
            return DASH
        return (
            f"{number(row[key], 2)} ({number(row[other] * factor, 2 if factor == 1 else 0)}{unit})"
        )

    return write


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "Model": lambda row: visible(row["model"], 40),
    "Steps": lambda row: str(row["steps"]),
    "NFE": _number("evaluations", 0),
    "Text, s": _number("text_seconds", 3),
    "Network, s": _number("network_seconds", 3),
    "Decoding, s": _number("decode_seconds", 3),
    "Writing, s": _number("encode_seconds", 3),
    "Memory, GB": _number("peak_megabytes", 1, factor=1e-3),
    "Frames/s": _rate,
    "Teacher, same kernels": _number("speedup", 1, TIMES),
    "Teacher as it comes": _number("over_stock_teacher", 1, TIMES),
    "Published, frames/s": _beside("published_frames_per_second", "over_published", TIMES),
    "Roofline, frames/s": _beside(
        "roofline_frames_per_second", "share_of_roofline", f"{NBSP}%", 100
    ),
    "Deviation, network": _number("deviation_network", 2),
    "Deviation, decoding": _number("deviation_decode", 2),
    "Kernels": lambda row: visible(row["kernels"], 160),
}
