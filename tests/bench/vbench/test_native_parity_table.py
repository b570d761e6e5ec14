"""The committed table of native values against the package's: complete, and as close as claimed."""

import csv
from pathlib import Path

from rcm_bench.vbench.dimensions import NATIVE

TABLE = Path(__file__).parents[3] / "reports/gallery/vbench_parity/parity.csv"
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
