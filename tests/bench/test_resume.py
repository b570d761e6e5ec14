"""Kill the process anywhere, run again: the tables are the same to the byte."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_suite import PROMPTS, SUITE

from rcm_bench.store import RunStore
from rcm_bench.verbs.report import report
from rcm_bench.verbs.run import run
from rcm_bench.verbs.status import status

SCRIPT = Path(__file__).with_name("killed_run.py")
POINTS = [
    ("link", 1),  # prompts are there, the manifest is not
    ("write", 5),  # half a file
    ("rename", 6),
    ("+blobs", 4),  # files without records
    ("write", 11),  # half the records of the first batch: prompts, manifest, 8 files, records
    ("+records", 3),
    ("+records", 13),  # 12 batches, then half the scores
    ("aggregate", 1),
]


def tables(folder):
    return {p.name: p.read_bytes() for p in (folder / "tables").iterdir() if "timing" not in p.name}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tables of a run that nobody interrupted."""

    folder = tmp_path_factory.mktemp("whole")
    (folder / "prompts.txt").write_text(PROMPTS)
    (folder / "tiny.yaml").write_text(SUITE)
    outcome = run(str(folder / "tiny.yaml"), folder / "out")
    assert outcome.done and outcome.whole
    found = tables(folder / "out")
    assert set(found) == {f"{n}.{s}" for n in ("measurements", "paired") for s in
                          ("csv", "md", "tex")}  # fmt: skip
    return folder


@pytest.mark.parametrize(("point", "count"), POINTS)
def test_killed_and_resumed(point, count, whole, tmp_path, environment):
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), str(whole / "tiny.yaml"), str(out), point, str(count)]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    outcome = run(str(whole / "tiny.yaml"), out)
    assert outcome.done and outcome.whole
    assert tables(out) == tables(whole / "out")
    assert RunStore.open(out).index().faults == []


def test_running_again_changes_nothing(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole / "out", out)
    files = {p for p in out.rglob("*") if p.is_file()}
    run(str(whole / "tiny.yaml"), out)
    report(out)
    assert tables(out) == tables(whole / "out")
    assert {p for p in out.rglob("*") if p.is_file()} == files


def test_a_run_can_be_moved_and_reported_without_its_suite(whole, tmp_path):
    shutil.copytree(whole / "out", tmp_path / "elsewhere")
    outcome = report(tmp_path / "elsewhere")
    assert outcome.whole
    assert tables(tmp_path / "elsewhere") == tables(whole / "out")


def test_two_workers_on_one_run(whole, tmp_path, environment):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rcm_bench", "run", str(whole / "tiny.yaml"),
               "--out", str(out)]  # fmt: skip
    workers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said.decode()
    assert tables(out) == tables(whole / "out")


def test_a_damaged_record_and_a_damaged_file_are_made_again(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole / "out", out)
    (records,) = (out / "records").iterdir()
    lines = records.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace("e", "f", 1)
    records.write_text("".join(lines))
    found = status(out)
    assert found.faults == [f"{records}:4: damaged record, left out"]
    assert not found.whole and sum(c.sampled for c in found.cells) == 71
    outcome = run(str(whole / "tiny.yaml"), out)
    assert outcome.whole and tables(out) == tables(whole / "out")

    blob = next(p for p in sorted((out / "blobs").rglob("*.png")))
    blob.write_bytes(b"not a picture")
    for scores in (out / "records").iterdir():
        kept = [x for x in scores.read_text().splitlines(True) if '"kind":"score"' not in x]
        scores.write_text("".join(kept))
    outcome = run(str(whole / "tiny.yaml"), out)
    assert not outcome.whole and not outcome.done
    assert status(out).failures[0][0] == "score corrupt"
    outcome = run(str(whole / "tiny.yaml"), out)
    assert outcome.whole and tables(out) == tables(whole / "out")
