"""kernels check and kernels bench: exit codes, files, messages; no speed without a green check."""

import json
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

from rcm_bench.cli import app
from rcm_bench.errors import UserError
from rcm_bench.kernel_files import as_json, as_junit
from rcm_bench.kernel_regressions import regressions
from rcm_bench.verbs import kernels_bench as bench_module
from rcm_bench.verbs import kernels_check as check_module
from rcm_bench.verbs.kernels_bench import read_rows, row_of
from rcm_bench.verbs.kernels_check import Checked, choose_device
from rcm_kernels.bench import BenchCase, Timing, bench, bench_cases
from rcm_kernels.check import CaseResult, Row
from rcm_kernels.contenders import contenders

GOOD = CaseResult("reference", "a case", [Row("output", "maximum", 1e-7, 2e-7)], seconds=0.5)
MISS = CaseResult("reference", "worse <&>", [Row("tangent", "frobenius", 3e-7, 2e-7)])
NAN = CaseResult("triton", "unwritten", [Row("output", "maximum", float("inf"), 2e-7)])
RAISED = CaseResult("triton", "refused", [], raised="ValueError: no\x1b[31m")
LEFT = CaseResult("triton", "masked", [], not_run="takes no attn_mask")


def checked(*results, incomplete=False):
    return Checked(seed=7, environment={"device": "cpu"}, ran=["reference on cpu"], results=results,
                   not_run=["triton compiled: there is no GPU"], incomplete=incomplete)  # fmt: skip


def invoke(monkeypatch, found, *arguments):
    for module in (check_module, bench_module):
        monkeypatch.setattr(module, "run_check", lambda seed: found)
    return CliRunner().invoke(app, ["kernels", *map(str, arguments)])


@pytest.mark.parametrize(
    ("results", "incomplete", "code"),
    [
        ([GOOD], False, 0),
        ([GOOD, MISS], False, 1),
        ([GOOD, RAISED], False, 1),
        ([GOOD, NAN, LEFT], False, 1),
        ([GOOD, LEFT], False, 4),
        ([GOOD], True, 4),
    ],
)
def test_exit_codes_of_check(monkeypatch, results, incomplete, code):
    done = invoke(monkeypatch, checked(*results, incomplete=incomplete), "check")
    assert done.exit_code == code, done.output
    assert "Not run: triton compiled: there is no GPU" in done.stdout
    assert "drawn again by --seed 7" in done.stdout
    if code == 1:
        assert "FAILED" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_failed_is_spelled_out(monkeypatch):
    lines = invoke(monkeypatch, checked(GOOD, MISS, RAISED), "check").stdout.splitlines()
    assert "FAILED reference: worse <&>" in lines
    assert "tangent, frobenius: error 3.00e-07, budget 2.00e-07" in [x.strip() for x in lines]
    assert lines[-1].startswith("2 of 3 cases FAILED; inputs of seed 7")


def test_json_and_junit(monkeypatch, tmp_path):
    found = checked(GOOD, MISS, NAN, RAISED, LEFT)
    files = tmp_path / "new" / "check.json", tmp_path / "check.xml"
    done = invoke(monkeypatch, found, "check", "--json", files[0], "--junit", files[1])
    assert done.exit_code == 1
    data = json.loads(files[0].read_text())
    assert data["green"] is False and data["seed"] == 7
    assert [case["passed"] for case in data["cases"]] == [True, False, False, False, False]
    assert data["cases"][2]["rows"][0]["error"] is None
    suites = {suite.get("name"): suite for suite in ElementTree.parse(files[1]).getroot()}
    assert suites["kernels check: reference"].attrib["failures"] == "1"
    triton = suites["kernels check: triton"]
    assert (triton.get("tests"), triton.get("failures"), triton.get("skipped")) == ("3", "2", "1")
    assert triton[1][0].get("message").startswith("ValueError: no") and len(triton[2]) == 1
    assert "\x1b" not in files[1].read_text()
    assert json.loads(as_json(checked(GOOD)))["green"] is True
    assert "<failure" not in as_junit(checked(GOOD))


def test_a_file_that_cannot_be_written_is_said_before_the_work(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "x.json"
    monkeypatch.setattr(check_module, "run_check", lambda seed: pytest.fail("it began to work"))
    done = CliRunner().invoke(app, ["kernels", "check", "--json", str(path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {path}: cannot be written (")


def test_kernels_that_were_loaded_for_a_gpu_cannot_be_interpreted(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("rcm_bench.environment.pick_device", lambda: "cpu")
    monkeypatch.setitem(__import__("sys").modules, "rcm_kernels.triton_forward", object())
    with pytest.raises(UserError) as fault:
        choose_device()
    assert str(fault.value) == (
        "the Triton kernels were loaded for a GPU before this check asked to interpret them: run "
        "it in a fresh process, or set TRITON_INTERPRET=1 before the first import"
    )


@pytest.mark.parametrize("result", [MISS, RAISED])
def test_no_speed_without_a_green_check(monkeypatch, tmp_path, result):
    monkeypatch.setattr(bench_module, "_time", lambda *_: pytest.fail("it was timed"))
    done = invoke(monkeypatch, checked(GOOD, result), "bench", "--out", tmp_path / "out")
    assert done.exit_code == 1 and not (tmp_path / "out").exists()
    last = done.stdout.splitlines()[-1]
    assert last == "Nothing was timed: a speed needs a green check in the same run"
    assert "TFLOP/s" not in done.stdout


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("rcm_kernels.bench.ROUNDS", 2)
    monkeypatch.setattr("rcm_kernels.bench.SECONDS_EACH", 0.01)
    monkeypatch.setattr(bench_module, "choose_device", lambda: "cpu")


def test_bench_writes_rows_check_and_plot(small, monkeypatch, tmp_path):
    done = invoke(monkeypatch, checked(GOOD), "bench", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {row["mode"] for row in rows if row["impl"] == "rcm_kernels reference"} == {
        "forward", "forward+tangent", "backward", "backward+tangent"}  # fmt: skip
    for row in rows:
        shape = row["shape"]
        products = {"forward": 2, "forward+tangent": 6, "backward": 5, "backward+tangent": 15}
        flops = products[row["mode"]] * 2 * shape["B"] * shape["H"] * shape["D"]
        flops *= shape["S"] * shape["T"]
        assert row["tflops"] == pytest.approx(flops / (row["p50_ms"] * 1e-3) / 1e12, rel=1e-4)
        assert 0 < row["p20_ms"] <= row["p50_ms"] <= row["p80_ms"] and row["n"] >= 2
        assert {"gpu", "driver", "torch", "triton", "commit", "dirty", "date"} <= row.keys()
    assert json.loads((tmp_path / "out" / "check.json").read_text())["green"] is True
    assert (tmp_path / "out" / "speed.svg").read_text().count("<svg") == 1
    assert "Not measured: torch SDPA, forward+tangent, B1 H2 S64 T64 D32: it has no tangent" in (
        done.stdout
    )
    same = invoke(monkeypatch, checked(GOOD), "bench", "--out", tmp_path / "b",
                  "--against", tmp_path / "out" / "rows.jsonl")  # fmt: skip
    assert same.exit_code in (0, 1)


def test_a_bench_that_is_stopped_keeps_what_it_measured(small, monkeypatch, tmp_path):
    def stopped(*_):
        yield Timing("x", bench_cases("cpu")[0], [1.0, 2.0])
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_module, "_time", stopped)
    invoke(monkeypatch, checked(GOOD), "bench", "--out", tmp_path / "out")
    (row,) = read_rows(tmp_path / "out" / "rows.jsonl")
    assert row["impl"] == "x" and (tmp_path / "out" / "check.json").exists()


def test_the_plot_is_the_same_for_the_same_rows(tmp_path):
    from rcm_reports.kernel_speed import write_speed

    rows = [ROW | {"impl": name} for name in ("rcm_kernels triton", "peer <b>\x1b")]
    first = write_speed(rows, tmp_path / "a.svg").read_bytes()
    assert first == write_speed(rows, tmp_path / "b.svg").read_bytes()
    ElementTree.fromstring(first)


ROW = {
    "op": "attention", "impl": "rcm_kernels triton", "mode": "forward", "dtype": "bfloat16",
    "shape": {"B": 1, "H": 2, "S": 8, "T": 8, "D": 64}, "gpu": "H100",
    "p20_ms": 1.0, "p50_ms": 1.1, "p80_ms": 1.2, "tflops": 5.0,
}  # fmt: skip


def test_slower_means_beyond_the_scatter_of_both_runs():
    assert regressions([ROW | {"p20_ms": 1.19, "p80_ms": 9.0}], [ROW], "old") == []
    (line,) = regressions([ROW | {"p20_ms": 1.21, "p80_ms": 1.3}], [ROW], "old")
    assert line == (
        "rcm_kernels triton, forward, B1 H2 S8 T8 D64, bfloat16: 1 to 1.2 ms before, "
        "1.21 to 1.3 ms now (20th to 80th percentile)"
    )
    peer = ROW | {"impl": "cuDNN"}
    assert regressions([ROW, peer | {"p20_ms": 99.0}], [ROW, peer], "old") == []


def test_what_is_not_measured_any_more_counts_as_slower():
    other = ROW | {"mode": "backward"}
    (line,) = regressions([ROW], [ROW, other], "old")
    assert line.endswith("backward, B1 H2 S8 T8 D64, bfloat16: 1.1 ms before, not measured now")


def test_rows_of_another_gpu_are_not_compared():
    with pytest.raises(UserError) as fault:
        regressions([ROW | {"gpu": "H200"}], [ROW], "old.jsonl")
    assert str(fault.value) == "old.jsonl: expected rows of rcm_kernels on H200, got rows on H100"


def test_regression_is_exit_code_1(small, monkeypatch, tmp_path):
    invoke(monkeypatch, checked(GOOD), "bench", "--out", tmp_path / "a")
    path = tmp_path / "a" / "rows.jsonl"
    faster = [row | {"p20_ms": 1e-9, "p80_ms": 2e-9} for row in read_rows(path)]
    path.write_text("".join(json.dumps(row) + "\n" for row in faster))
    done = invoke(monkeypatch, checked(GOOD), "bench", "--out", tmp_path / "b", "--against", path)
    assert done.exit_code == 1 and "SLOWER: rcm_kernels reference" in done.stdout


def test_messages_about_files(monkeypatch, tmp_path):
    path = tmp_path / "rows.jsonl"
    done = invoke(monkeypatch, checked(GOOD), "bench", "--against", path)
    assert done.exit_code == 2 and done.stderr == f"error: {path}: there is no such file\n"
    path.write_text('{"op": "attention"}\n')
    done = invoke(monkeypatch, checked(GOOD), "bench", "--against", path)
    assert done.exit_code == 2 and done.stderr == (
        f"error: {path}:1: a row of 'kernels bench' lacks dtype, gpu, impl, mode, p20_ms, p80_ms, "
        "shape\n"
    )
    path.write_text("nonsense\n")
    done = invoke(monkeypatch, checked(GOOD), "bench", "--against", path)
    assert done.stderr == f"error: {path}:1: expected a row of JSON, got 'nonsense'\n"


def test_a_peer_from_a_file_is_timed_or_its_reason_is_given(small, tmp_path):
    peer = tmp_path / "peer.py"
    peer.write_text(
        "class _attention:\n    @staticmethod\n    def apply(q, k, v, tq, tk, tv):\n"
        "        assert q.is_contiguous()\n        return q, tq\n"
    )
    lacking = tmp_path / "lacking.py"
    lacking.write_text("import no_such_package\n")
    case = BenchCase(B=1, H=2, S=8, T=8, D=16, mode="forward+tangent", dtype=torch.float32)
    for path, reason in ((peer, None), (lacking, "cannot be imported: No module named")):
        entrants = {"rCM": contenders("cpu", path)["rCM"]}
        (timing,) = bench([case], entrants, "cpu", torch.Generator())
        assert bool(timing.milliseconds) == (reason is None)
        assert reason is None or reason in timing.not_measured
    row = row_of(Timing("x", case, [1.0, 2.0, 3.0]), {})
    assert (row["p50_ms"], row["n"]) == (2.0, 3)


def test_the_table_of_the_gpu_holds_what_is_promised():
    cases = bench_cases("cuda")
    shapes = {(c.B, c.H, c.S, c.T, c.D) for c in cases if c.mode == "forward+tangent"}
    assert {(1, 12, 8192, 8192, 128), (1, 12, 32760, 32760, 128), (1, 40, 32760, 32760, 128),
            (4, 32, 4096, 4096, 64), (1, 12, 32760, 512, 128)} == shapes  # fmt: skip
    assert {"backward", "backward+tangent"} <= {case.mode for case in cases}
    case = next(c for c in cases if c.mode == "forward+tangent" and c.S == 8192)
    assert case.flops == 12 * 1 * 12 * 8192**2 * 128
    assert {"cuDNN", "FlashAttention-2", "jvp-flash-attention"} <= contenders("cuda", None).keys()


def test_a_check_without_an_interpreter_is_incomplete_and_says_why(monkeypatch):
    monkeypatch.setattr("rcm_kernels.choice.why_not_interpreted", lambda: "NumPy is too new")
    monkeypatch.setattr(check_module, "choose_device", lambda: "cpu")
    monkeypatch.setattr(check_module, "find_spec", lambda name: True)
    monkeypatch.setattr(check_module, "_results", lambda impls, seed, device: list(impls))
    found = check_module.run_check(7)
    assert found.results == ["reference"] and found.incomplete
    assert found.not_run == ["triton: NumPy is too new"]
