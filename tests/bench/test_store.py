"""Records and files of a run: torn, damaged, full disks, foreign folders."""

import errno
import os
import random

import pytest

from rcm_bench import store_blobs
from rcm_bench.canonical import bytes_digest
from rcm_bench.errors import UserError
from rcm_bench.store import RunStore
from rcm_bench.store_blobs import Blobs, CorruptBlobError
from rcm_bench.store_records import RecordWriter, parse, read_records, spell
from rcm_bench.verbs.report import report
from rcm_bench.verbs.run import run


def test_records_come_back(tmp_path):
    rows = [{"kind": "sample", "key": f"é{i}", "text": 'a\n"b",crc32":1}'} for i in range(5)]
    writer = RecordWriter(tmp_path)
    assert not list(tmp_path.iterdir())
    writer.append(rows[:3])
    writer.append(rows[3:])
    writer.append([])
    read = read_records(tmp_path)
    assert read.records == [{"v": 1, **row} for row in rows]
    assert read.faults == []


def test_torn_end_is_left_out_in_silence_at_every_byte(tmp_path):
    whole = (spell({"kind": "a", "n": 1}) + spell({"kind": "b", "n": 2})).encode()
    first = len(spell({"kind": "a", "n": 1}).encode())
    for size in range(first, len(whole) + 1):
        (tmp_path / "x.jsonl").write_bytes(whole[:size])
        read = read_records(tmp_path)
        assert read.faults == [], size
        assert len(read.records) == (2 if size >= len(whole) - 1 else 1), size


def test_damage_anywhere_is_found(tmp_path):
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    line = spell({"kind": "sample", "key": "k", "value": 0.25}).encode()
    for _ in range(300):
        at = rng.randrange(len(line) - 1)
        damaged = bytearray(line)
        damaged[at] ^= 1 << rng.randrange(7)
        text = bytes(damaged).decode(errors="replace")
        assert "\n" in text[:-1] or parse(text[:-1]) is None, (seed, at)
    (tmp_path / "x.jsonl").write_bytes(line + b"garbage\n" + line)
    read = read_records(tmp_path)
    assert len(read.records) == 2
    assert read.faults == [f"{tmp_path / 'x.jsonl'}:2: damaged record, left out"]


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_leaves_records_as_they_were(tmp_path, monkeypatch):
    writer = RecordWriter(tmp_path)
    writer.append([{"kind": "a"}])
    before = writer.path.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:7]))
    calls = iter([lambda *a: real(a[0], bytes(a[1])[:7]), full])
    monkeypatch.setattr(os, "write", lambda *a: next(calls)(*a))
    with pytest.raises(OSError, match="No space left"):
        writer.append([{"kind": "b"}])
    monkeypatch.setattr(os, "write", real)
    assert writer.path.read_bytes() == before
    writer.append([{"kind": "c"}])
    assert [r["kind"] for r in read_records(tmp_path).records] == ["a", "c"]


def test_blobs(tmp_path):
    blobs = Blobs(tmp_path)
    contents = [b"one", b"two", b"one"]
    names = blobs.put(contents, lambda data: ".png")
    assert names == [bytes_digest(data) + ".png" for data in contents]
    assert [blobs.read(name) for name in names] == contents
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")]
    blobs.path(names[0]).write_bytes(b"onf")
    with pytest.raises(CorruptBlobError, match="does not match its digest"):
        blobs.read(names[0])
    blobs.discard(names[0])
    with pytest.raises(CorruptBlobError, match="no such file"):
        blobs.read(names[0])
    assert blobs.put([b"one"], lambda data: ".png") == names[:1] and blobs.read(names[0]) == b"one"


def test_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store_blobs.write_file(tmp_path / "x", b"data")
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_runs(suite, tmp_path):
    path = suite()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="mine: exists and is not a run folder; give another --out"):
        run(str(path), tmp_path / "mine")
    with pytest.raises(UserError, match=r"not a run folder: there is no manifest\.json in it"):
        report(tmp_path / "mine")
    with pytest.raises(UserError, match=r"not a run folder"):
        report(tmp_path / "nowhere")
    (tmp_path / "mine" / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="expected a manifest of schema 1, got 99"):
        report(tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").write_text('{"sch')
    with pytest.raises(UserError, match="manifest.json: cannot be read"):
        report(tmp_path / "mine")


def test_a_changed_suite_into_the_same_folder_says_what_changed(suite, tmp_path):
    run(str(suite()), tmp_path / "out", limit=1)
    run(str(suite(**{"suite: tiny": "suite: tiny\nabout: more words"})), tmp_path / "out", limit=1)
    with pytest.raises(UserError) as caught:
        run(str(suite(**{"level: 0.9": "level: 0.8", "batch_size: 8": "batch_size: 4"})),
            tmp_path / "out")  # fmt: skip
    text = str(caught.value)
    assert "holds a run that was frozen with another plan; give another --out" in text
    assert "suite.run.batch_size: was 8, is 4" in text
    assert "suite.models.student.level: was 0.9, is 0.8" in text
    assert "models.student.weights: was " in text
    assert RunStore.open(tmp_path / "out").manifest["suite"]["run"]["batch_size"] == 8
