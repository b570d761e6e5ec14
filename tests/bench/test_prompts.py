"""Prompts may hold anything; they never become a path, and come back as they were."""

import json
import re
from types import SimpleNamespace

import pytest

from rcm_bench.errors import UserError
from rcm_bench.prompt_sets import prompts_digest
from rcm_bench.store import RunStore
from rcm_bench.vbench import environment
from rcm_bench.verbs.prompts import prompts
from rcm_bench.verbs.run import run

HOSTILE = [
    "<script>alert('x')</script> & <b>bold</b>",
    "../../../../etc/passwd",
    "/absolute/path\\with\\backslashes",
    "\"quotes\" 'and' `backticks` $(rm -rf /)",
    "two\nlines and a\ttab\r\n and a separator\u2028here",
    "emoji 🦊👩‍👩‍👧 and right-to-left \u202eabc",
    "=HYPERLINK(\"http://x\",\"y\")",
    "[red]markup[/red] {{ jinja }} %s ${VARIABLE}",
    "x" * 5000,
    "</td></tr></table>",
]  # fmt: skip


def test_hostile_prompts_and_names(suite, tmp_path):
    lines = "".join(json.dumps({"prompt": text, "tag": "a/b<i>"}) + "\n" for text in HOSTILE)
    path = suite(**{"prompts.txt": "prompts.jsonl", "student:": "'../<b>ü \"x\"[red]':",
                    "suite: tiny": "suite: '../../<b>/🦊'"})  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text(lines, encoding="utf-8")
    before = set(tmp_path.rglob("*"))
    outcome = run(str(path), tmp_path / "out")
    store = RunStore.open(tmp_path / "out")
    assert sorted(p.text for p in store.prompts()) == sorted(HOSTILE)
    assert all(p.prompt_id.replace("-", "").isalnum() for p in store.prompts())
    new = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert all(p.is_relative_to(tmp_path / "out") for p in new)
    page = outcome.report.read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<b>bold" not in page and "<i>" not in page
    assert outcome.done


def test_faulty_prompt_files(suite, tmp_path):
    def fault(text, name="prompts.jsonl"):
        path = suite(**{"prompts.txt": name})
        (tmp_path / name).write_bytes(text)
        with pytest.raises(UserError) as caught:
            run(str(path), tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "prompts.jsonl:2: expected one JSON object in a line" in fault(b'{"prompt":"a"}\n{"pro')
    assert "expected a JSON object with a text under 'prompt'" in fault(b'{"prompt": 3}\n')
    assert "expected text under 'tag', got 3" in fault(b'{"prompt": "a", "tag": 3}\n')
    assert "expected one JSON object in a line" in fault(b'{"prompt": "\\ud800"}\n')
    assert "expected one JSON object in a line" in fault(b'{"prompt": "a", "x": NaN}\n')
    assert "prompt 2 repeats prompt 1: 'a'" in fault(b'{"prompt":"a"}\n{"prompt":"a"}\n')
    assert "prompt 1: expected 1 to 65536 bytes, got 70000" in fault(b"a" * 70_000, "p.txt")
    assert "expected UTF-8, byte 0 is not" in fault(b"\xff", "p.txt")
    assert "holds no prompts" in fault(b"\n  \n", "p.txt")
    assert "expected a .txt or .jsonl file, got 'p.csv'" in fault(b"a\n", "p.csv")
    assert "models.teacher: cannot draw prompt 00000-" in fault(b"forbidden\n", "p.txt")


def test_official_format_can_be_read_back(suite, tmp_path):
    texts, records = prompts("lab", tmp_path / "official")
    lines = records.read_text().splitlines()
    assert texts.read_text().splitlines() == [json.loads(line)["prompt"] for line in lines]
    assert json.loads(lines[0]).keys() >= {"tag", "include", "prompt"}
    with pytest.raises(UserError, match="unknown prompt set 'genevil'. Available: geneval, lab"):
        prompts("genevil", tmp_path)

    from rcm_bench.prepare import prepare
    from rcm_bench.suite_load import load_suite

    built_in = suite(**{"file: prompts.txt": "set: lab, per_task: 100"})
    one = prepare(load_suite(str(built_in), {})).plan
    from_file = suite(**{"prompts.txt": "official/evaluation_metadata.jsonl"})
    two = prepare(load_suite(str(from_file), {})).plan
    assert prompts_digest(one.prompts) == prompts_digest(two.prompts)
    assert [i.sample_key for i in one.items] == [i.sample_key for i in two.items]


@pytest.mark.parametrize("name", ["lab", "geneval", "vbench"])
def test_a_folder_that_cannot_be_written_is_named(name, tmp_path, monkeypatch):
    info = tmp_path / "VBench_full_info.json"
    info.write_text("[]")
    monkeypatch.setattr(environment, "find", lambda: SimpleNamespace(info=info))
    monkeypatch.setattr("rcm_bench.vbench.prompts.read_rows", lambda path: ())
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=rf"--out: {re.escape(str(out))}: expected a folder"):
            prompts(name, out)
