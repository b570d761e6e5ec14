"""Is a kernel slower than it was, beyond what both runs' own scatter explains?"""

import json
from typing import Any

from rcm_bench.errors import UserError

OURS = "rcm_kernels"


def regressions(rows: list[dict[str, Any]], before: list[dict[str, Any]], name: str) -> list[str]:
    """Compare the rows of this package with earlier ones on the same GPU.

    Slower means that the range from the 20th to the 80th percentile lies above the earlier range:
    four in five calls now take longer than four in five did. Percentiles are over interleaved
    rounds, so that they hold the drift of a run. What was measured earlier and is not measured now
    counts as slower: the missing is never equal. Peers are not judged.

    Args:
        rows: Of this run.
        before: Of the earlier run.
        name: The earlier file, for messages.

    Returns:
        One line for each regression.

    Raises:
        UserError: The earlier file has no row of this package on this GPU.
    """
    gpus = {row["gpu"] for row in rows}
    earlier = {_key(r): r for r in before if r["impl"].startswith(OURS) and r["gpu"] in gpus}
    if not earlier:
        there = ", ".join(sorted({str(row["gpu"]) for row in before})) or "nothing"
        raise UserError(
            f"{name}: expected rows of {OURS} on {', '.join(sorted(gpus))}, got rows on {there}"
        )
    now = {_key(row): row for row in rows}
    found = []
    for key, old in earlier.items():
        new = now.get(key)
        if new is None:
            found.append(f"{_name(old)}: {old['p50_ms']:.4g} ms before, not measured now")
        elif new["p20_ms"] > old["p80_ms"]:
            found.append(
                f"{_name(old)}: {_range(old)} ms before, {_range(new)} ms now (20th to 80th "
                "percentile)"
            )
    return found


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row[name] for name in ("op", "impl", "mode", "shape", "dtype", "gpu")])


def _name(row: dict[str, Any]) -> str:
    shape = " ".join(f"{name}{size}" for name, size in row["shape"].items())
    return f"{row['impl']}, {row['mode']}, {shape}, {row['dtype']}"


def _range(row: dict[str, Any]) -> str:
    return f"{row['p20_ms']:.4g} to {row['p80_ms']:.4g}"
