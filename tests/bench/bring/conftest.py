import json

import numpy as np
import pytest
from brought_folders import RECORDS, SUITE, image_bytes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Remember what was found good in a folder of the test's own."""
    monkeypatch.setenv("RCM_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def drawn():
    """Ask for pages: tests that do not look at one leave it out."""


@pytest.fixture(autouse=True)
def no_pages(request, monkeypatch):
    """Leave out the page of a run, which takes longer than all the rest."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")


@pytest.fixture
def bring(tmp_path):
    """Write a suite and GenEval folders of a teacher at 8 and a student at 1 and 2 steps."""

    def write(text=SUITE, records=RECORDS, **replaced):
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        rng = np.random.default_rng()
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "prompts.jsonl").write_text(lines, encoding="utf-8")
        for cell in ("teacher/8", "student/1", "student/2"):
            for place, record in enumerate(records):
                folder = tmp_path / cell / f"{place:05d}"
                (folder / "samples").mkdir(parents=True)
                (folder / "metadata.jsonl").write_text(json.dumps(record), encoding="utf-8")
                for k in range(3):
                    (folder / "samples" / f"{k:05d}.png").write_bytes(image_bytes(rng))
        path = tmp_path / "bring.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
