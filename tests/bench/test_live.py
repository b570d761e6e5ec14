"""A run that goes on can be watched: page, heartbeat and status agree, and cost next to nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_suite import PROMPTS, SUITE, interruptible

from rcm_bench import live
from rcm_bench.finish import open_run
from rcm_bench.live import HEARTBEAT, Asked, Live, Tail, Watch, heartbeat
from rcm_bench.printing import print_status
from rcm_bench.store import RunStore
from rcm_bench.verbs.run import run
from rcm_bench.verbs.status import status

SLOW = """
import rcm_fake, time, rcm_bench.live
rcm_bench.live.FIRST_SECONDS, rcm_bench.live.SECONDS = 0.05, 0.1
real = rcm_fake.Model.generate
def slow(self, items):
    time.sleep(0.25)
    return real(self, items)
rcm_fake.Model.generate = slow
from rcm_bench.cli import main
main()
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    (folder / "prompts.txt").write_text(PROMPTS)
    (folder / "tiny.yaml").write_text(SUITE)
    run(str(folder / "tiny.yaml"), folder / "out")
    return folder / "out"


def asked(opened, **changes):
    plan = opened.plan
    evaluations = {cell: cell[1] for cell in plan.cells()}
    return Asked(**{"plan": plan, "prompt_ids": plan.limited(None), "evaluations": evaluations,
                    "scorers": 1, "untimed": False, "command": "again", **changes})  # fmt: skip


def records(folder):
    (path,) = (folder / "records").iterdir()
    return path, path.read_text().splitlines(keepends=True)


def begun(done, tmp_path, lines):
    """A copy of a run that holds only these record lines."""
    store = RunStore.open(done)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("manifest.json", "prompts.jsonl"):
        (out / name).write_bytes((store.root / name).read_bytes())
    (out / "records").mkdir()
    (out / "records" / "x.jsonl").write_text("".join(lines))
    return open_run(out)


def test_new_records_are_read_once_and_half_a_line_waits(done, tmp_path):
    _, lines = records(done)
    file = tmp_path / "x.jsonl"
    tail = Tail(tmp_path)
    assert list(tail.new()) == []
    file.write_text(lines[0] + lines[1][:50])
    assert [record["key"] for record in tail.new()] == [json.loads(lines[0])["key"]]
    assert list(tail.new()) == []
    file.write_text(lines[0] + lines[1] + "not a record\n" + lines[2])
    assert [r["key"] for r in tail.new()] == [json.loads(line)["key"] for line in lines[1:3]]


def test_stages_in_their_order_with_counts(done, tmp_path):
    _, lines = records(done)
    samples = [line for line in lines if '"kind":"sample"' in line]
    scores = [line for line in lines if '"kind":"score"' in line]
    opened = begun(done, tmp_path, samples[:20])
    watch = Watch(opened.store, asked(opened, untimed=True))
    state = watch.state()
    assert (state.stage, state.done, state.total) == ("Sampling", 20, 72)
    assert sum(cell.sampled for cell in state.cells) == 20
    assert state.rate is None and state.left is None
    file = opened.store.root / "records" / "x.jsonl"
    file.write_text("".join(samples[:30]))
    time.sleep(0.02)
    state = watch.state()
    assert state.rate > 0 and state.left > 0
    file.write_text("".join(samples))
    assert watch.state().stage == "Timing"
    watch = Watch(opened.store, asked(opened))
    assert (watch.state().stage, watch.state().total) == ("Scoring", 72)
    file.write_text("".join(samples + scores))
    state = watch.state()
    assert state.stage == "Writing the report" and state.left is None


def test_the_time_left_counts_network_evaluations_and_not_samples(done, tmp_path, monkeypatch):
    """Cheap samples come first here: to count samples alike would promise too much."""
    _, lines = records(done)
    samples = [line for line in lines if '"kind":"sample"' in line]
    cheap = sorted(samples, key=lambda line: json.loads(line)["nfe"])
    opened = begun(done, tmp_path, [])
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    watch = Watch(opened.store, asked(opened))
    watch.state()
    (opened.store.root / "records" / "x.jsonl").write_text("".join(cheap[:36]))
    clock[0] += 10
    state = watch.state()
    evaluations = 18 * (1 + 4 + 1 + 2)
    spent = sum(json.loads(line)["nfe"] for line in cheap[:36])
    assert state.rate == pytest.approx(3.6)
    assert state.left == pytest.approx((evaluations - spent) / (spent / 10))
    assert state.left > 2 * (72 - 36) / 3.6


def test_failures_are_counted_by_cell_and_by_message(suite, tmp_path):
    path = suite(**{"level: 0.9": "level: 0.9, fail_on: number 3"})
    run(str(path), tmp_path / "out")
    opened = open_run(tmp_path / "out")
    state = Watch(opened.store, asked(opened)).state()
    assert {(c.model, c.steps): c.failed for c in state.cells if c.failed} == {
        ("student", 1): 3, ("student", 2): 3,
    }  # fmt: skip
    assert dict(state.failures) == {"sample error: RuntimeError: cannot draw prompt number 3": 6}
    assert state.done == state.total or state.stage != "Sampling"


def test_a_limit_asks_for_less(done, tmp_path):
    opened = begun(done, tmp_path, [])
    watch = Watch(opened.store, asked(opened, prompt_ids=opened.plan.limited(2)))
    assert watch.state().total == 24


@pytest.mark.long
def test_watched_interrupted_and_gone_on_with(suite, environment, tmp_path, capsys):
    path, out = suite(), tmp_path / "out"
    worker = subprocess.Popen(
        [sys.executable, "-c", SLOW, "run", str(path), "--out", str(out)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=interruptible,
    )  # fmt: skip
    page = out / "report" / "index.html"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if page.exists() and "samples per second" in page.read_text(encoding="utf-8"):
            break
        time.sleep(0.05)
    going = status(out)
    assert going.running and going.stage == "Sampling"
    print_status(going)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Running: ")
    assert 'http-equiv="refresh"' in page.read_text(encoding="utf-8")
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    assert worker.returncode == 130
    text = page.read_text(encoding="utf-8")
    assert "This run was interrupted." in text and f"--out {out}" in text
    stopped = status(out)
    assert not stopped.running and not (out / HEARTBEAT).exists()
    print_status(stopped)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Not complete, and nobody works on it: run the suite again to go on"
    )
    assert run(str(path), out).whole
    assert "This run was interrupted." not in page.read_text(encoding="utf-8")
    assert "refresh" not in page.read_text(encoding="utf-8")
    print_status(status(out))
    assert capsys.readouterr().out.splitlines()[-1] == "Complete"


def test_a_killed_run_is_soon_known_to_be_dead(done, tmp_path):
    (tmp_path / HEARTBEAT).write_text(json.dumps({"at": time.time(), "stage": "Sampling"}))
    assert heartbeat(tmp_path)["stage"] == "Sampling"
    old = time.time() - live.ALIVE_SECONDS - 1
    (tmp_path / HEARTBEAT).write_text(json.dumps({"at": old, "stage": "Sampling"}))
    assert heartbeat(tmp_path) is None
    (tmp_path / HEARTBEAT).write_text("half a ")
    assert heartbeat(tmp_path) is None and heartbeat(done) is None


def test_a_fault_is_told_and_a_full_disk_does_not_hide_it(done, tmp_path, monkeypatch):
    _, lines = records(done)
    opened = begun(done, tmp_path, lines[:20])
    with pytest.raises(ValueError, match="broken"), live.live(opened.store, asked(opened)):
        raise ValueError("broken")
    page = (opened.store.root / "report" / "index.html").read_text(encoding="utf-8")
    assert "This run was stopped by a fault: broken" in page

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rcm_reports.live.render_live", full)
    with pytest.raises(ValueError, match="broken"), live.live(opened.store, asked(opened)):
        raise ValueError("broken")


def test_a_report_that_is_there_stays_when_nothing_is_left_to_do(done):
    page = done / "report" / "index.html"
    before = page.read_bytes()
    opened = open_run(done)
    with pytest.raises(KeyboardInterrupt), live.live(opened.store, asked(opened)):
        time.sleep(live.FIRST_SECONDS + 0.3)
        raise KeyboardInterrupt
    assert page.read_bytes() == before
    assert not [name for name in os.listdir(done) if "live" in name]


def test_a_turn_costs_less_than_its_share_of_the_rest(done, tmp_path, monkeypatch):
    """Rests are made so long that the thread stays under 1/SHARE of the time."""
    _, lines = records(done)
    opened = begun(done, tmp_path, lines[:20])
    shown = Live(opened.store, asked(opened))
    rests = []
    monkeypatch.setattr(shown._over, "wait", lambda rest: rests.append(rest) or len(rests) > 4)
    costs = iter([0.0, 9.0, 10.0, 10.001, 20.0, 20.1, 30.0, 30.02])
    monkeypatch.setattr(live.time, "thread_time", lambda: next(costs))
    shown._work()
    assert rests == pytest.approx([1.0, 3.0, 3.0, 40.0, 8.0])
