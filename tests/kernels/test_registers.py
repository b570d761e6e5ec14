"""What the compiler makes of the kernels for an H100, with no GPU: a change shows here first."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")
TRITON = ".".join(triton.__version__.split(".")[:2])
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


@cache
def compiled(*names):
    """Return what each kernel takes, by the name of what launches it and its own."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    paths = os.pathsep.join([str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_kernels.py")), *names],
        env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=380,
    )  # fmt: skip
    if done.returncode and "ptxas" in done.stderr and "No such file" in done.stderr:
        pytest.skip("this Triton comes without ptxas: nothing can be compiled without a GPU")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return worst(rows)


def worst(rows):
    """A kernel that is launched more than once counts by its worst launch, number by number."""
    found = {}
    for row in rows:
        before = found.setdefault((row["what"], row["kernel"]), dict(row))
        for key in ("spilled_bytes", "serialized", "shared_bytes"):
            before[key] = max(before[key], row[key])
        before["loop_spills"] = max(before["loop_spills"], row["loop_spills"], key=sum)
        before["num_loops"] = min(before.get("num_loops", 99), len(row["loop_spills"]))
    return found


def test_the_worst_launch_counts():
    """Lists of loops are compared by their sums: [2, 9] is worse than [3, 0]."""
    rest = {"what": "w", "kernel": "k", "serialized": False, "shared_bytes": 1}
    one = rest | {"spilled_bytes": 8, "loop_spills": [3, 0]}
    two = rest | {"spilled_bytes": 4, "loop_spills": [2, 9]}
    for rows in ([one, two], [two, one]):
        found = worst(rows)["w", "k"]
        assert (found["spilled_bytes"], found["loop_spills"]) == (8, [2, 9])
    assert worst([one, rest | {"spilled_bytes": 0, "loop_spills": []}])["w", "k"]["num_loops"] == 0


# Bytes spilled per thread with Triton 3.8 (3.6: none), and instructions that spill in the loops;
# may only become less.
SPILLED = {
    "forward 64": (0, 0),
    "forward 128": (8, 0),
    "forward 128 causal": (36, 5),
    "forward 128 plain": (0, 0),
    "forward 64 float16 products": (0, 0),
    "forward 128 float16 products": (52, 4),
    "forward 128 causal float16 products": (88, 13),
}


@pytest.mark.parametrize("what", SPILLED)
def test_the_forward_kernel_gets_no_worse(what):
    found = compiled(*SPILLED)[what, "attention_forward"]
    spilled, in_loops = SPILLED[what]
    assert found["spilled_bytes"] <= spilled
    assert found["num_loops"] == 2  # all keys visible, and some hidden
    assert sum(found["loop_spills"]) <= in_loops
    assert not found["serialized"]
    assert found["num_wgmma"] > 0 and found["num_tma"] > 0
    assert found["shared_bytes"] <= 227 * 1024


# Bytes spilled per thread, by Triton 3.6 or 3.8: what writes whole rows is set aside once a tile.
GLUON = {
    "gluon 64": 64,
    "gluon 128": 64,
    "gluon 64 float16 products": 144,
    "gluon 128 float16 products": 64,
}


@pytest.mark.parametrize("what", GLUON)
def test_the_gluon_kernel_keeps_everything_of_its_loops_in_registers(what):
    pytest.importorskip("triton.experimental.gluon", reason="this Triton has no Gluon")
    found = compiled(*GLUON)[what, "attention_forward"]
    assert found["loop_spills"] == [0, 0]  # of either consumer
    assert found["spilled_bytes"] <= GLUON[what]
    assert not found["serialized"]
    assert found["num_wgmma"] > 0 and found["num_tma"] > 0
    assert found["shared_bytes"] <= 227 * 1024


def test_what_scales_values_spills_nothing():
    found = compiled("forward 64 float16 products", "forward 128 float16 products")
    for size in (64, 128):
        for kernel in ("find_exponents", "scale_values"):
            assert found[f"forward {size} float16 products", kernel]["spilled_bytes"] == 0


# Bytes spilled per thread and instructions that spill in the loops, with Triton 3.8: may only get
# less; and which older Triton serialises wgmma.
BACKWARD = {
    ("backward 128", "query_gradients"): (368, 26, ()),
    ("backward 128", "key_gradients"): (84, 8, ("3.6",)),
    ("backward 128 plain", "query_gradients"): (0, 0, ()),
    ("backward 128 plain", "key_gradients"): (0, 0, ()),
}


@pytest.mark.parametrize(("what", "kernel"), BACKWARD)
def test_the_backward_kernels_get_no_worse(what, kernel):
    found = compiled("backward 128", "backward 128 plain")[what, kernel]
    spilled, in_loops, serialized_by = BACKWARD[what, kernel]
    assert found["spilled_bytes"] <= spilled
    assert found["num_loops"] > 0  # none found is not none spilled
    assert sum(found["loop_spills"]) <= in_loops
    assert found["serialized"] == (TRITON in serialized_by)
    assert found["shared_bytes"] <= 227 * 1024


# Exact products use no tensor cores, what sums lose is kept beside them, and the queries' kernel
# has two loops. Larger blocks spilled 124,596, 62,072 and 42,196 bytes.
FLOAT32 = {
    ("forward 64 float32", "attention_forward"): 84,
    ("backward 64 float32", "query_gradients"): 1984,
    ("backward 64 float32", "key_gradients"): 0,
}


def test_float32_keeps_nearly_everything_in_registers():
    found = compiled("forward 64 float32", "backward 64 float32")
    for name, spilled in FLOAT32.items():
        assert found[name]["spilled_bytes"] <= spilled, name
        assert found[name]["num_wgmma"] == 0


# A loop with a product inside one without, a wait out of line, spills in and out of the inner loop.
LISTING = """\
.L_outer:
  STL [R1], R2 ;
.L_inner:
  @!P0 BRA `(.L_wait) ;
.L_go_on:
  LDL R2, [R1] ;
  HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8] ;
  STL.64 [R1+0x8], R4 ;
  @P0 BRA `(.L_inner) ;
  LDL R3, [R1] ;
  @P1 BRA `(.L_outer) ;
  EXIT ;
.L_wait:
  SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R5], R6 ;
  @!P0 BRA `(.L_wait) ;
  BRA `(.L_go_on) ;"""


def test_only_spills_in_the_inner_loop_count():
    from rcm_kernels.machine_code import spills_in_loops

    lines = [line.strip() for line in LISTING.splitlines()]
    assert spills_in_loops(lines) == [2]
    assert spills_in_loops([line for line in lines if "HGMMA" not in line]) == []


def test_spills_and_serialisation_are_seen():
    """A block that is too large for four warps: what the tests above would catch."""
    what = "forward 128 plain too large"
    found = compiled(what)[what, "attention_forward"]
    assert found["spilled_bytes"] > 0 and found["serialized"] and found["registers"] == 255
    assert min(found["loop_spills"]) > 0
