"""Result files of GenEval: what upstream writes is read back, and nothing else is."""

import json
import random

import pandas as pd
import pytest

from rcm_bench.errors import UserError
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.geneval_results import ResultRow, read_results, results_text

BOX = [1.0, 2.0, 30.0, 40.5, 0.987654]


def official_row(record, k, correct, details):
    """A row as the evaluation script makes it."""
    return {
        "filename": f"images/{k // 4:05d}/samples/{k % 4:04d}.png",
        "tag": record["tag"],
        "prompt": record["prompt"],
        "correct": correct,
        "reason": "" if correct else "expected x>=1, found 0\nexpected y>=1, found 0",
        "metadata": json.dumps(record),
        "details": json.dumps(details),
    }


def official_file(path, rows):
    """Write rows as the evaluation script does: with pandas."""
    with path.open("w") as file:
        pd.DataFrame(rows).to_json(file, orient="records", lines=True)


def test_what_upstream_writes_comes_back(tmp_path):
    rng = random.Random()
    records = official_metadata()
    rows = [
        official_row(record, k, rng.random() < 0.7, {"bench": [BOX] * rng.randrange(3)})
        for record in records
        for k in range(4)
    ]
    for number, row in enumerate(rows):
        row["filename"] = f"images/{number // 4:05d}/samples/{number % 4:04d}.png"
    official_file(tmp_path / "results.jsonl", rows)
    found = read_results(tmp_path / "results.jsonl")
    assert [r.line for r in found] == list(range(1, 2213))
    for row, one in zip(rows, found, strict=True):
        for key in ("filename", "tag", "prompt", "correct", "reason"):
            assert getattr(one, key) == row[key]
        assert one.metadata == json.loads(row["metadata"])
        assert one.details == json.loads(row["details"])
    again = tmp_path / "again.jsonl"
    again.write_text(results_text(found))
    assert read_results(again) == found


def test_what_we_write_pandas_reads_as_the_summary_script_does(tmp_path):
    """The score by the official recipe: the mean over tasks of the means over images."""
    records = official_metadata()
    rows = [
        ResultRow(filename=f"{k:05d}/samples/00000.png", tag=r["tag"], prompt=r["prompt"],
                  correct=k % 3 == 0, reason="" if k % 3 == 0 else "no", metadata=r,
                  details={"toothbrush": [BOX], "person": [BOX, BOX]})
        for k, r in enumerate(records)
    ]  # fmt: skip
    path = tmp_path / "results.jsonl"
    path.write_text(results_text(rows))
    table = pd.read_json(path, orient="records", lines=True)
    assert len(table) == 553 and len(table.groupby("metadata")) == 553
    tasks = table.groupby("tag", sort=False)["correct"].mean()
    by_hand = {}
    for row in rows:
        by_hand.setdefault(row.tag, []).append(row.correct)
    assert tasks.to_dict() == pytest.approx({t: sum(v) / len(v) for t, v in by_hand.items()})
    assert list(json.loads(table["details"][0])) == ["person", "toothbrush"]


def test_text_of_any_kind_comes_back(tmp_path):
    record = official_metadata()[0]
    row = ResultRow(filename="../<b>\u2028\n\"=1", tag="single_object", prompt=record["prompt"],
                    correct=False, reason="a\u2028b\nc", metadata=record, details={})  # fmt: skip
    path = tmp_path / "results.jsonl"
    path.write_text(results_text([row]), encoding="utf-8")
    (again,) = read_results(path)
    assert (again.filename, again.reason) == (row.filename, row.reason)


RECORD = {"tag": "position", "include": [{"class": "cat", "count": 1},
          {"class": "dog", "count": 1, "position": ["left of", 0]}], "prompt": "p"}  # fmt: skip


def changed(**changes):
    """The row of RECORD with keys replaced; None takes a key away."""
    row = {**official_row(RECORD, 0, True, {"cat": [BOX]}), **changes}
    return {key: value for key, value in row.items() if value is not None}


def metadata(**changes):
    return json.dumps({**RECORD, **changes})


def clause(**changes):
    return metadata(include=[{"class": "cat", "count": 1, **changes}])


FAULTS = {
    "key 'reason' is missing": changed(reason=None),
    "unknown key 'reasons'. Available: .*. Did you mean 'reason'": changed(reasons="x"),
    "correct: expected true or false, got '1'": changed(correct=1),
    "correct is false, and no reason": changed(correct=False),
    "correct is true, and yet a reason": changed(reason="x"),
    "tag is 'colors', but 'position' in metadata": changed(tag="colors"),
    "prompt is 'q', but 'p' in metadata": changed(prompt="q"),
    "metadata: expected JSON": changed(metadata="{"),
    "metadata: expected text, got": changed(metadata={"tag": "x"}),
    "details: expected text, got '3'": changed(details=3),
    "details: expected boxes by class": changed(details="[]"),
    r"details: 'cat': expected \[x0, y0, x1, y1, score\]": changed(details='{"cat": [[1, 2]]}'),
    "details: 'cat': expected a list": changed(details='{"cat": 3}'),
    "details: expected JSON: NaN is no": changed(details='{"cat": [[1, 2, 3, 4, NaN]]}'),
    "details: a key stands twice": changed(details='{"cat": [], "cat": []}'),
    "metadata: tag: unknown task 'positions'. .* Did you mean 'position'": changed(
        tag="positions", metadata=metadata(tag="positions")
    ),
    "include: expected a list of clauses": changed(metadata=metadata(include=[])),
    r"include\[0\].count: expected a number from 1 on, got '0'": changed(metadata=clause(count=0)),
    r"include\[0\].class: expected text": changed(metadata=clause(**{"class": 3})),
    r"include\[0\].color: unknown colour 'rad'. .* Did you mean 'red'": changed(
        metadata=clause(color="rad")
    ),
    r"include\[0\].position: expected the index of an earlier clause": changed(
        metadata=clause(position=["above", 0])
    ),
    r"include\[0\].position: unknown relation 'on top'": changed(
        metadata=clause(position=["on top", 0])
    ),
    r"include\[0\].position: expected \[relation, clause\]": changed(metadata=clause(position=[])),
    r"exclude\[0\]: unknown key 'color'": changed(
        metadata=metadata(exclude=[{"class": "cat", "count": 2, "color": "red"}])
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_name_file_and_line(tmp_path, message):
    path = tmp_path / "results.jsonl"
    good = json.dumps(changed(filename="other.png"))
    path.write_text(f"{good}\n{json.dumps(FAULTS[message])}\n")
    with pytest.raises(UserError, match=f"results.jsonl:2: .*{message}"):
        read_results(path)


def test_faults_of_the_file(tmp_path):
    def fault(data):
        path = tmp_path / "r.jsonl"
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_results(path)
        return str(caught.value)

    good = json.dumps(changed()).encode()
    assert "r.jsonl: holds no results" in fault(b"\n")
    assert "r.jsonl: expected UTF-8, byte 1 is not" in fault(b"{\xff")
    assert "r.jsonl:1: expected JSON" in fault(good[:-9])
    assert "r.jsonl:1: expected a JSON object" in fault(b"[1]\n")
    assert "r.jsonl:2: filename" in fault(good + b"\n" + good)
    with pytest.raises(UserError, match="absent.jsonl: no such file"):
        read_results(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path)
