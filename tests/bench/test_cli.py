"""The command line: frozen verbs and flags, exit codes, one message, no traceback, quick help."""

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from tiny_suite import ENOUGH, interruptible
from typer.testing import CliRunner

import rcm_bench
from rcm_bench import exit_codes
from rcm_bench.cli import app
from rcm_bench.errors import UserError
from rcm_bench.exit_codes import explain
from rcm_bench.verbs import run as run_module

VERBS = {
    "run": ["suite", "--out", "--limit", "--allow-pickle"],
    "plan": ["suite", "--allow-pickle"],
    "status": ["run"],
    "score": ["run"],
    "report": ["runs", "--format", "--out", "--history"],
    "compare": ["runs", "--reference", "--published"],
    "gate": ["run", "--baseline", "--margin", "--junit", "--summary"],
    "baseline": ["run", "--out"],
    "power": ["suite", "--pilot", "--margin"],
    "prompts": ["benchmark", "--out"],
    "distill": ["recipe", "--out", "--max-seconds"],
    "doctor": [],
    "kernels check": ["--json", "--junit", "--seed"],
    "kernels bench": ["--out", "--against", "--rcm"],
}


def commands_of(group, prefix=""):
    """Yield every command, those of a group by both names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} ")
        else:
            yield prefix + name, command


def test_verbs_and_flags_are_frozen():
    found = {
        name: [p.opts[0] for p in command.params if "--help" not in p.opts]
        for name, command in commands_of(typer.main.get_command(app))
    }
    assert found == VERBS


def test_verbs_are_functions_too():
    names = [verb.replace(" ", "_") for verb in VERBS]
    assert sorted(rcm_bench.__all__) == sorted(names)
    for name in names:
        assert callable(getattr(rcm_bench, name)), name
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        rcm_bench.train  # noqa: B018


def call(environment, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "rcm_bench", *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=120, cwd=cwd,
    )  # fmt: skip


def test_help_is_quick_and_light(environment):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = call(environment, "--help")
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0
        assert all(verb.partition(" ")[0] in done.stdout for verb in VERBS)
    assert min(seconds) < 1.0, seconds  # 0.2 s on an idle machine
    code = "import sys, rcm_bench.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                            text=True, check=True).stdout  # fmt: skip
    for heavy in ("torch", "pandas", "numpy", "pydantic", "matplotlib", "scipy"):
        assert f"'{heavy}'" not in loaded, heavy


def test_a_whole_run_on_the_command_line(suite, environment, tmp_path):
    suite(prompts=ENOUGH)
    done = call(environment, "run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"runs/tiny-[0-9a-f]{8}/report/index\.html", last)
    assert (tmp_path / last).is_file()
    assert re.search(r"teacher │ +4 │ +0\.\d+ \[0\.\d+,0\.\d+\]", done.stdout)
    assert "Sampling: 288/288 samples in" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    folder = tmp_path / last.removesuffix("/report/index.html")
    shown = CliRunner().invoke(app, ["status", str(folder)])
    assert shown.exit_code == 0 and shown.stdout.splitlines()[-1] == "Complete"


def test_a_users_fault_is_one_message(suite, environment, tmp_path):
    suite(**{"steps: [1, 2]": "steps: [1, 2]\nbenchmark: {}"})
    done = call(environment, "run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: tiny.yaml: unknown key 'benchmark'. Available: about, benchmarks, extends, gates, "
        "models, prompts, protocol, published, reuse, run, samplers, steps, suite, variables, "
        "version. Did you mean 'benchmarks'?\n"
    )
    assert not (tmp_path / "runs").exists()


def test_usage_faults():
    assert CliRunner().invoke(app, ["run"]).exit_code == 2
    assert CliRunner().invoke(app, ["rnu"]).exit_code == 2
    assert CliRunner().invoke(app, ["run", "x", "--limit", "many"]).exit_code == 2


def test_exit_codes(suite, tmp_path, monkeypatch, capsys):
    path = suite(**{"level: 0.9": "level: 0.9, fail_on: number 3"})
    found = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out")])
    assert found.exit_code == exit_codes.INCOMPLETE == 4
    assert "6 samples are missing: no benchmark totals" in found.stdout
    assert CliRunner().invoke(app, ["status", str(tmp_path / "out")]).exit_code == 4
    assert CliRunner().invoke(app, ["report", str(tmp_path / "nothing")]).exit_code == 2

    def fail_with(fault):
        def fail(*_):
            raise fault

        monkeypatch.setattr(run_module, "prepare", fail)
        return CliRunner().invoke(app, ["run", str(path)])

    full = fail_with(OSError(errno.ENOSPC, "No space left on device", "runs/x/blobs/ab/c.png"))
    assert full.exit_code == 70
    assert full.stderr == (
        "error: the disk is full while writing runs/x/blobs/ab/c.png; nothing sampled is lost: "
        "free some space and run the same command again\n"
    )
    ours = fail_with(ZeroDivisionError("division by zero"))
    assert ours.exit_code == 70
    assert ours.stderr.startswith("error: ZeroDivisionError: division by zero\nThis is a fault of")
    log = ours.stderr.strip().rpartition(" ")[2]
    assert "Traceback" not in ours.stderr and "in fail" in Path(log).read_text()
    assert fail_with(KeyboardInterrupt()).exit_code == 130
    assert explain(UserError("x")).code == 2


def test_interrupt_loses_nothing(suite, environment, tmp_path):
    text = "import rcm_fake, time\nreal = rcm_fake.Model.generate\n" \
           "def slow(self, items):\n    time.sleep(0.3)\n    return real(self, items)\n" \
           "rcm_fake.Model.generate = slow\nfrom rcm_bench.cli import main\nmain()\n"  # fmt: skip
    path = suite()
    worker = subprocess.Popen(
        [sys.executable, "-c", text, "run", str(path), "--out", str(tmp_path / "out")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=interruptible,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/records/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.send_signal(signal.SIGINT)
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 130
    assert said.splitlines()[-1] == (
        "interrupted; nothing sampled is lost: run the same command again to go on"
    )
    assert "Traceback" not in said
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    assert outcome.whole


def test_full_disk_in_the_middle_of_a_run(suite, tmp_path, monkeypatch):
    from rcm_bench import store_blobs
    from rcm_bench.verbs.status import status

    path, real, calls = suite(), store_blobs.write_file, []

    def fills_up(target, data):
        calls.append(target)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(target, data)

    monkeypatch.setattr(store_blobs, "write_file", fills_up)
    out = tmp_path / "out"
    found = CliRunner().invoke(app, ["run", str(path), "--out", str(out)])
    assert found.exit_code == 70 and "the disk is full while writing" in found.stderr
    monkeypatch.setattr(store_blobs, "write_file", real)
    assert sum(cell.sampled for cell in status(out).cells) == 18
    found = CliRunner().invoke(app, ["run", str(path), "--out", str(out)])
    assert found.exit_code == 0


def test_plan_and_doctor(suite, tmp_path, monkeypatch):
    suite()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plan", "tiny.yaml"])
    assert done.exit_code == 0, done.stderr
    assert "6 prompts x 3 seeds; 72 samples in 12 batches; 144 network evaluations" in done.stdout
    assert not (tmp_path / "runs").exists()
    assert CliRunner().invoke(app, ["run", "tiny.yaml", "--limit", "1"]).exit_code == 0
    again = CliRunner().invoke(app, ["plan", "tiny.yaml"]).stdout
    assert again.splitlines()[-1] == "32 of its samples are there already"
    checks = {check.name: check for check in rcm_bench.doctor()}
    assert checks["Python"].good and checks["torch"].good and "quickstart" in checks["suites"].found
    assert "weights lab-teacher" in checks
    # Weights of the hub and brought files are no part of the package, and a reinstall brings none.
    weights = [name for name in checks if name.startswith("weights ")]
    assert weights and all(name.startswith("weights lab-") for name in weights)
    assert all(checks[name].good for name in weights)
    for check in checks.values():
        assert check.good or check.mend, check.name
