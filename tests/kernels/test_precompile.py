"""Compiling ahead: the cases are dealt out once each, and what was compiled is found again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from rcm_kernels import precompile
from rcm_kernels.case_table import cases_for
from rcm_kernels.check import Candidate, candidate_results, draw

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [1, 3, 16])
def test_every_case_is_dealt_out_once(number):
    dealt = [case for share in precompile.shares("cuda", number) for case in share]
    assert sorted(c.name for c in dealt) == sorted(c.name for c in cases_for("cuda", "triton"))


def test_slow_cases_are_dealt_out_evenly():
    slow = [
        sum(case.dtype == torch.float32 for case in share) for share in precompile.shares("cuda", 5)
    ]
    assert max(slow) - min(slow) <= 1 and min(slow) > 0


def replace_workers(monkeypatch, program):
    """Run a program in place of each worker, which it gets as its arguments."""
    popen = subprocess.Popen

    def instead(command, **options):
        return popen([sys.executable, "-c", program, *command[3:]], **options)

    monkeypatch.setattr(precompile.subprocess, "Popen", instead)
    monkeypatch.setattr(precompile.os, "cpu_count", lambda: 3)


def test_every_line_of_every_process_is_counted(monkeypatch):
    replace_workers(monkeypatch, "import sys; [print(i) for i in range(2 + int(sys.argv[1]))]")
    done = []
    assert precompile.precompile(50, lambda: done.append(1)) == []
    assert len(done) == 2 + 3 + 4


def test_a_process_that_fails_is_named_by_its_last_words(monkeypatch):
    program = "import sys; print(1); sys.argv[1] == '1' and sys.exit('before\\nno space left')"
    replace_workers(monkeypatch, program)
    done = []
    assert precompile.precompile(50, lambda: done.append(1)) == ["no space left"]
    assert len(done) == 3


def test_processes_end_where_one_cannot_be_started(monkeypatch, tmp_path):
    """No memory for the third: the first two are not left behind, nor is the pipe."""
    replace_workers(monkeypatch, "import time; time.sleep(60)")
    popen, started = precompile.subprocess.Popen, []

    def failing(command, **options):
        if len(started) == 2:
            raise OSError(12, "Cannot allocate memory")
        started.append(popen(command, **options))
        return started[-1]

    monkeypatch.setattr(precompile.subprocess, "Popen", failing)
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        precompile.precompile(50, lambda: None)
    assert [worker.poll() for worker in started] == [-9, -9]
    assert len(os.listdir("/proc/self/fd")) <= files


def test_no_more_processes_than_cases(monkeypatch):
    replace_workers(monkeypatch, "print(1)")
    done = []
    precompile.precompile(2, lambda: done.append(1))
    assert len(done) == 2


def compiled_in(folder):
    """What lies in a cache, and when it was written: what is compiled anew is written anew."""
    found = list(folder.rglob("*.cubin"))
    return {path.name for path in found}, {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.long
def test_what_was_compiled_is_found_by_another_process(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    paths = os.pathsep.join([str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    environment |= {"PYTHONPATH": paths, "TRITON_CACHE_DIR": str(tmp_path)}
    script, seen = Path(__file__).with_name("compile_ahead.py"), []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)],
            env=environment, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        if done.returncode and "ptxas" in done.stderr and "No such file" in done.stderr:
            pytest.skip("this Triton comes without ptxas: nothing can be compiled without a GPU")
        assert done.returncode == 0, done.stderr[-3000:]
        assert len(done.stdout.splitlines()) == 2
        seen.append(compiled_in(tmp_path))
    names, files = seen[0]
    assert {"attention_forward.cubin", "query_gradients.cubin", "key_gradients.cubin"} <= names
    assert seen[1] == (names, files)


@pytest.mark.gpu
def test_a_launch_finds_what_was_compiled_ahead(tmp_path, monkeypatch):
    from functools import partial

    from rcm_kernels import attention, attention_with_tangent

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cases = [c for c in cases_for("cuda", "triton") if c.D == 64 and c.dtype == torch.bfloat16][:2]
    assert list(precompile.compile_cases(cases, "cuda")) == cases
    names, files = compiled_in(tmp_path)
    assert files
    functions = partial(attention, impl="triton"), partial(attention_with_tangent, impl="triton")
    for case in cases:
        inputs = draw(case, torch.Generator().manual_seed(1), "cuda")
        candidate_results(Candidate("triton", *functions), case, inputs)
    torch.cuda.synchronize()
    assert compiled_in(tmp_path) == (names, files)


def test_a_check_says_what_was_not_compiled_ahead(monkeypatch, capsys):
    from rcm_bench.verbs import kernels_check

    monkeypatch.setattr(precompile, "precompile", lambda number, advance: ["no space left"])
    kernels_check._compile_ahead(3)
    said = capsys.readouterr().err
    assert "not compiled ahead, so the check does it: no space left" in said
