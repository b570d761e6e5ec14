"""Does the check see an error? Each is planted in a copy of the kernels, and must be found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
FORWARD, TILES = "triton_forward.py", "tiles.py"
OF_QUERIES, OF_KEYS = "triton_query_gradients.py", "triton_key_gradients.py"

# name: file, what is there, what is put in its place
TRITON = {
    "the tangent's accumulator is not rescaled": (
        FORWARD,
        "tangent = tangent * fade[:, None]",
        "tangent = tangent",
    ),
    "the output's accumulator is not rescaled": (
        FORWARD,
        "output = output * fade[:, None]",
        "output = output",
    ),
    "the sum of the tangent's weights is not rescaled": (
        FORWARD,
        "sum_up(r * fade, lost_r",
        "sum_up(r, lost_r",
    ),
    "the row sum is missing": (
        FORWARD,
        "tangent = tangent * back[:, None] - rho[:, None] * output",
        "tangent = tangent * back[:, None]",
    ),
    "the tangent of the scores has the wrong scale": (
        FORWARD,
        "h_wide = rounded(p * (ts * tangent_scale - centre",
        "h_wide = rounded(p * (ts * tangent_scale * 1.4426950408889634 - centre",
    ),
    "the mask is off by one": (FORWARD, "seen = (columns < length)", "seen = (columns <= length)"),
    "the causal mask is off by one": (
        FORWARD,
        "columns[None, :] <= rows[:, None]",
        "columns[None, :] < rows[:, None] + 2",
    ),
    "an operand is swapped": (
        FORWARD,
        "add_product(product(tq, tl.trans(k)), q, tl.trans(tk))",
        "add_product(product(tq, tl.trans(k)), tq, tl.trans(tk))",
    ),
    "the tangent of the values meets the wrong weights": (
        FORWARD,
        "sum_up_product(tangent, lost_tangent, p_low, tv)",
        "sum_up_product(tangent, lost_tangent, h_low, tv)",
    ),
    "rows beyond the end are read": (
        TILES,
        "(row + rows < num_rows)[:, None] & (columns < SIZE)[None, :]\n            tile",
        "(row + rows < num_rows + 1)[:, None] & (columns < SIZE)[None, :]\n            tile",
    ),
    "the last row is not written": (
        TILES,
        "inside = (row + rows < num_rows)[:, None] & (columns < SIZE)",
        "inside = (row + rows < num_rows - 1)[:, None] & (columns < SIZE)",
    ),
}
TRITON |= {
    "the weights' sum is not divided out": (
        OF_QUERIES,
        "b = (weighed[2] + lost_weighed[2]) * inverse",
        "b = 0.0 * inverse",
    ),
    "the gradient of the weights is not centred": (
        OF_QUERIES,
        "z = weight_gradient(g, v, t, tv, HAS_G, HAS_T and HAS_TV) - delta[:, None]",
        "z = weight_gradient(g, v, t, tv, HAS_G, HAS_T and HAS_TV)",
    ),
    "the tangent's part of the query gradient is missing": (
        OF_QUERIES,
        "dq, lost_dq = sum_up_product(dq, lost_dq, dts, tk)",
        "pass",
    ),
    "the key gradient takes the wrong tangent": (
        OF_KEYS,
        "dk, lost_dk = sum_up_product(dk, lost_dk, dts, tq)",
        "dk, lost_dk = sum_up_product(dk, lost_dk, dts, q)",
    ),
    "the value gradient forgets the scores' tangent": (
        OF_KEYS,
        "narrow(p * w, k.dtype)",
        "narrow(p, k.dtype)",
    ),
    "the value tangent's gradient has the wrong weights": (
        OF_KEYS,
        "dtv, lost_dtv = sum_up_product(dtv, lost_dtv, narrow(p, k.dtype), t)",
        "dtv, lost_dtv = sum_up_product(dtv, lost_dtv, narrow(p * p, k.dtype), t)",
    ),
    "gradients of padding are written": (
        OF_KEYS,
        "dk = tl.where(seen, dk * scale, 0.0)",
        "dk = dk * scale + 1.0",
    ),
}


def run(impl, errors, folder):
    """Return the failed cases by planted error; those of the whole kernels under ``nothing``."""
    paths = os.pathsep.join([str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("planted.py")), impl, folder],
        input=json.dumps(errors), env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("impl", "errors"), [("triton", TRITON)])
def test_every_planted_error_is_found(impl, errors, tmp_path):
    found = run(impl, errors, tmp_path)
    assert found.pop("nothing") == []
    assert found.keys() == errors.keys()
    assert [error for error, failed in found.items() if not failed] == []
