"""A folder of images scored twice by real networks: the same tables and result files."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_clip import NAME, tiny_clip
from tiny_mask2former import busy_model

import rcm_bench
from rcm_bench.detectors import mask2former, mask2former_weights
from rcm_bench.detectors.mask2former import Mask2Former
from rcm_bench.geneval_colours import Colours
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.scorers import geneval as scorers
from rcm_bench.scorers.geneval import Models

RECORDS = official_metadata()[5::90]
SUITE = """\
suite: twice
models: {teacher: {kind: folder, role: teacher, layout: geneval, path: images, steps: [4]}}
samplers: {not-recorded: {kind: elsewhere}}
steps: [4]
prompts: {file: prompts.jsonl, samples_per_prompt: 2}
benchmarks:
  geneval: {detector: {kind: mask2former, weights: DIR/m.pth, layout: mmdet, sha256: "DIGEST"}}
"""


@pytest.mark.long
def test_a_folder_scored_twice_has_the_same_tables_and_files(tmp_path, monkeypatch):
    import open_clip

    rng = np.random.default_rng()
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in RECORDS))
    for place, record in enumerate(RECORDS):
        folder = tmp_path / "images" / f"{place:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text(json.dumps(record))
        for k in range(2):
            noise = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "samples" / f"{k:05d}.png")
    (tmp_path / "m.pth").write_bytes(b"weights")
    suite = tmp_path / "twice.yaml"
    suite.write_text(SUITE.replace("DIR", str(tmp_path)).replace("DIGEST", "743b7d99" + "0" * 56))
    clip = tiny_clip(tmp_path)
    transform = open_clip.image_transform(32, is_train=False)
    models = Models(
        Mask2Former(busy_model(), "cpu"),
        Colours(clip, transform, open_clip.get_tokenizer(NAME), "cpu"),
        0.987,
    )
    monkeypatch.setattr(scorers, "load", lambda *settings: models)
    # The file stands in for the official one, whose digest the suite names.
    monkeypatch.setattr(mask2former_weights, "hold_to", lambda *given: None)
    for name, side in (("LONG_SIDE", 256), ("SHORT_SIDE", 160)):  # the real sides take a minute
        monkeypatch.setattr(mask2former, name, side)
    monkeypatch.setenv("RCM_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    found = []
    for name in ("first", "second"):
        outcome = rcm_bench.run(str(suite), tmp_path / name)
        rcm_bench.score(tmp_path / name)
        tables = tmp_path / name / "tables"
        found.append({path.name: path.read_bytes() for path in tables.iterdir()})
    assert outcome.whole and found[0] == found[1]
    (results,) = [data for name, data in found[0].items() if name.startswith("geneval_")]
    rows = [json.loads(line) for line in results.splitlines()]
    assert len(rows) == 2 * len(RECORDS)
    assert any(json.loads(row["details"]) for row in rows), "something must be found"
