"""kernels bench: how fast is attention with its tangent, beside what else there is?"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any

import numpy as np

from rcm_bench.errors import UserError
from rcm_bench.kernel_regressions import regressions
from rcm_bench.verbs.kernels_check import Checked, choose_device, run_check

if TYPE_CHECKING:
    from rcm_kernels.bench import Timing

ROWS, CHECK = "rows.jsonl", "check.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benched:
    """What a bench found.

    Args:
        checked: The check that came before; nothing is timed unless it is green.
        rows: One for each implementation and case that was measured.
        not_measured: Implementation, case and reason of the others.
        slower: What is slower than in the file compared with, beyond both runs' noise.
        out: The folder of rows, check and plot; None if nothing was timed.
    """

    checked: Checked
    rows: list[dict[str, Any]] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)
    slower: list[str] = field(default_factory=list)
    out: Path | None = None


def kernels_bench(
    out: str | Path | None = None,
    against: str | Path | None = None,
    rcm: str | Path | None = None,
) -> Benched:
    """Check every path, then time it and its peers side by side.

    Args:
        out: Folder of rows, check and plot [runs/kernels__<gpu>__<date>].
        against: Rows of an earlier bench on the same GPU.
        rcm: rCM's ``flash_attention_jvp_triton.py``, to be timed too.

    Raises:
        UserError: A file is missing or holds no rows of this GPU.
    """
    for path in (against, rcm):
        if path is not None and not Path(path).is_file():
            raise UserError(f"{path}: there is no such file")
    before = None if against is None else read_rows(Path(against))
    checked = run_check(randbits(31))
    if checked.failed or checked.incomplete:
        return Benched(checked=checked)
    from rcm_bench.kernel_files import as_json, write
    from rcm_reports.kernel_speed import write_speed

    device = choose_device()
    about = _about(device)
    folder = Path(out) if out else Path("runs") / f"kernels__{_slug(about)}__{about['date'][:10]}"
    write(folder / CHECK, as_json(checked))
    rows: list[dict[str, Any]] = []
    missing = []
    for timing in _time(device, None if rcm is None else Path(rcm)):
        if timing.not_measured:
            missing.append(_missing(timing))
        else:
            rows.append(row_of(timing, about))
            write_rows(folder / ROWS, rows)  # what is stopped keeps what it has measured
    write_speed(rows, folder / "speed.svg")
    slower = [] if before is None else regressions(rows, before, str(against))
    return Benched(checked=checked, rows=rows, not_measured=missing, slower=slower, out=folder)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of JSON, one a line, the file whole or not at all."""
    from rcm_bench.kernel_files import write

    write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _time(device: str, rcm: Path | None) -> "Iterator[Timing]":
    import torch

    from rcm_bench.progress import progress
    from rcm_kernels.bench import bench, bench_cases
    from rcm_kernels.contenders import contenders

    cases, entrants = bench_cases(device), contenders(device, rcm)
    with progress("Timing", len(cases) * len(entrants), "timings") as advance:
        rng = torch.Generator(device).manual_seed(randbits(31))
        for timing in bench(cases, entrants, device, rng):
            yield timing
            advance()


def row_of(timing: "Timing", about: dict[str, Any]) -> dict[str, Any]:
    """Return one row: what was timed, percentiles in milliseconds, operations, circumstances."""
    case = timing.case
    p20, p50, p80 = (float(x) for x in np.percentile(timing.milliseconds, (20, 50, 80)))
    return {
        "op": "attention",
        "impl": timing.impl,
        "mode": case.mode,
        "shape": {name: getattr(case, name) for name in "BHSTD"},
        "dtype": str(case.dtype).removeprefix("torch."),
        "n": len(timing.milliseconds),
        "p20_ms": round(p20, 6),
        "p50_ms": round(p50, 6),
        "p80_ms": round(p80, 6),
        "peak_bytes": timing.peak_bytes,
        "tflops": float(f"{case.flops / p50 * 1e-9:.6g}"),
        **about,
    }


def _about(device: str) -> dict[str, Any]:
    from rcm_bench.environment import commit, device_name, driver, installed

    head = commit()
    return {
        "gpu": device_name(device),
        "driver": driver() if device == "cuda" else None,
        "torch": installed("torch"),
        "triton": installed("triton"),
        "commit": None if head is None else head.partition(" ")[0],
        "dirty": None if head is None else " " in head,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _slug(about: dict[str, Any]) -> str:
    name = str(about["gpu"]).partition("(")[0].lower()
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in name).split())


def _missing(timing: "Timing") -> str:
    shape = " ".join(f"{name}{getattr(timing.case, name)}" for name in "BHSTD")
    return f"{timing.impl}, {timing.case.mode}, {shape}: {timing.not_measured}"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of an earlier bench.

    Raises:
        UserError: A line is no row.
    """
    needed = {"op", "impl", "mode", "shape", "dtype", "p20_ms", "p80_ms", "gpu"}
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{path}:{number}: expected a row of JSON, got {line[:60]!r}") from None
        lacking = sorted(needed - row.keys()) if isinstance(row, dict) else ["an object"]
        if lacking:
            raise UserError(f"{path}:{number}: a row of 'kernels bench' lacks {', '.join(lacking)}")
        rows.append(row)
    return rows
