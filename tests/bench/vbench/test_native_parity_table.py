"""The committed table of native values against the package's: complete, and as close as claimed."""

import csv
from pathlib import Path
from statistics import median

import pytest

from rcm_bench.vbench.dimensions import NATIVE

GALLERY = Path(__file__).parents[3] / "reports/gallery/vbench_parity"
TABLE = GALLERY / "parity.csv"
TOLERANCE = 1e-4


def test_every_native_dimension_equals_the_package_in_the_committed_table():
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in NATIVE:
        own = [row for row in rows if row["what"] == name]
        assert [row["of"] for row in own] == [*(f"video {i}" for i in range(4)), "score"], name
        if name != "dynamic_degree":  # a decision: all videos may move
            assert len({row["package"] for row in own[:-1]}) == 4, name
    for row in rows:
        difference = abs(float(row["package"]) - float(row["native"]))
        assert difference <= TOLERANCE, row
    flows = [row for row in rows if row["what"] == "flow, largest speed in px"]
    assert len(flows) == 4 and all(float(row["package"]) > 1 for row in flows)


@pytest.mark.parametrize(
    ("table", "folder", "seconds"),
    [
        ("whole_cpu.csv", "speed", "processor_seconds"),
        ("whole_cpu.csv", "full", "processor_seconds"),
        ("whole_cuda.csv", "videos", "wall_seconds"),
    ],
)
def test_the_pages_times_of_whole_evaluations_are_those_of_the_committed_table(
    table, folder, seconds
):
    with (GALLERY / table).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["folder"] == folder]
    page = (GALLERY / "README.md").read_text(encoding="utf-8")
    ways = ("package, a process for each", "package, one process", "native", "native, still")
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["way"], []).append(float(row[seconds]))
    (line,) = [each for each in page.splitlines() if each.endswith("|") and f"`{folder}`" in each]
    cells = [cell.strip(" *") for cell in line.split("|")[2:-1]]
    apart, one, own, still = (median(found[way]) for way in ways)
    assert [cells[i] for i in (0, 1, 2, 4)] == [f"{s:.1f}" for s in (apart, one, own, still)]
    assert cells[3] == f"{apart / own:.1f}, {one / own:.1f}"
    assert cells[5] == f"{apart / still:.1f}, {one / still:.1f}"
