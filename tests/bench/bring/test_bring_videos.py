"""Videos from elsewhere in VBench's layout: found by prompt, read whole, refused by name."""

import json

import numpy as np
import pytest

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.finish import open_run
from rcm_bench.types import Media
from rcm_bench.vbench import prompts
from rcm_bench.vbench.dimensions import I2V_GROUPS
from rcm_bench.video import read_video
from rcm_bench.video_files import encode_video

SUITE = """\
suite: videos
models:
  teacher: {kind: folder, role: teacher, layout: vbench, path: teacher, steps: [50]}
  student: {kind: folder, layout: vbench, path: "student/{steps}"}
samplers: {not-recorded: {kind: elsewhere}}
steps: [4]
prompts: {set: vbench, info: info.json, preset: five-unfiltered, samples_per_prompt: 2}
benchmarks: {brightness: {}}
"""
TEXTS = ("A person is walking, 50 - 60 fps", "a fantasy landscape", "A fantasy landscape")


@pytest.fixture(scope="module")
def clips():
    """A few videos of noise, as files."""
    rng = np.random.default_rng()

    def clip(frames=4, size=(32, 48), fps=8.0):
        array = rng.integers(0, 256, (frames, *size, 3), dtype=np.uint8)
        return encode_video(Media(array=array, nfe=0, fps=fps))

    return {"good": [clip() for _ in range(4)], "short": clip(1), "long": clip(6),
            "wide": clip(size=(32, 64)), "fast": clip(fps=16.0)}  # fmt: skip


@pytest.fixture
def videos(tmp_path, monkeypatch, clips):
    rows = [{"prompt_en": text, "dimension": ["human_action"]} for text in TEXTS]
    info = tmp_path / "info.json"
    info.write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(info))
    for cell in ("teacher", "student/4"):
        (tmp_path / cell).mkdir(parents=True)
        for n, text in enumerate(TEXTS):
            for k in range(2):
                path = tmp_path / cell / f"{text}-{k}.mp4"
                path.write_bytes(clips["good"][(n + k) % 4])
    suite = tmp_path / "videos.yaml"
    suite.write_text(SUITE)
    return suite


def test_videos_are_stored_byte_for_byte(videos, tmp_path):
    rcm_bench.run(str(videos), tmp_path / "out")
    run = open_run(tmp_path / "out")
    samples = run.store.index().samples
    for item in run.plan.items:
        blob = samples[item.sample_key]["blob"]
        folder = "teacher" if item.model == "teacher" else "student/4"
        given = tmp_path / folder / f"{item.prompt}-{item.seed_index}.mp4"
        assert blob.endswith(".mp4") and run.store.blobs.read(blob) == given.read_bytes()
    identity = run.plan.identities["teacher"]
    assert (identity["resolution"], identity["frames"], identity["fps"]) == ([32, 48], 4, 8.0)


def test_videos_scored_twice_give_the_same_tables_and_files(videos, tmp_path, monkeypatch):
    """In VBench-I2V's set, whose flickering needs neither weights nor the static filter."""
    rows = [{"prompt_en": text, "dimension": list(I2V_GROUPS[1][1]), "image_name": "a.jpg"}
            for text in TEXTS]  # fmt: skip
    info = tmp_path / "i2v.json"
    info.write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(info))
    text = SUITE.replace("set: vbench, info: info.json, preset: five-unfiltered",
                         "set: vbench_i2v, info: i2v.json")  # fmt: skip
    own = "vbench_i2v: {dimensions: [temporal_flickering], device: cpu}"
    videos.write_text(text.replace("brightness: {}", own))
    found = []
    for name in ("first", "second"):
        outcome = rcm_bench.run(str(videos), tmp_path / name)
        tables = tmp_path / name / "tables"
        found.append({p.name: p.read_bytes() for p in tables.iterdir() if p.suffix != ".html"})
        rcm_bench.score(tmp_path / name)
        found.append({p.name: p.read_bytes() for p in tables.iterdir() if p.suffix != ".html"})
    assert outcome.whole and found[0] == found[1] == found[2] == found[3]
    assert len([name for name in found[0] if name.endswith("_eval_results.json")]) == 2
    own = outcome.measurements.query("metric == 'temporal_flickering'")
    value = own.set_index("model")["value"]
    frames = [read_video(p).frames.astype(float) for p in (tmp_path / "teacher").iterdir()]
    each = [(255 - np.abs(np.diff(f, axis=0)).mean()) / 255 for f in frames]
    assert value["teacher"] == pytest.approx(np.mean(each), rel=1e-9)


def test_what_is_wrong_with_videos_is_said_by_name(videos, tmp_path, clips):
    folder, good = tmp_path / "student/4", clips["good"][0]
    (folder / f"{TEXTS[0]}-0.mp4").write_bytes(good[: len(good) // 2])
    (folder / f"{TEXTS[0]}-1.mp4").write_bytes(clips["short"])
    (folder / f"{TEXTS[1]}-0.mp4").write_bytes(clips["long"])
    (folder / f"{TEXTS[1]}-1.mp4").write_bytes(b"")
    (folder / "A fantasy landscap-0.mp4").write_bytes(good)
    (folder / f"{TEXTS[2]}-2.mp4").write_bytes(good)
    (folder / "notes.txt").write_text("notes")
    for text, name in ((TEXTS[1], "wide"), (TEXTS[2], "fast")):
        (tmp_path / f"teacher/{text}-0.mp4").write_bytes(clips[name])
    (tmp_path / f"teacher/{TEXTS[0]}-1.mp4").unlink()
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(videos))
    said = str(caught.value)
    for text in (
        f"{TEXTS[0]}-0.mp4: ",
        f"{TEXTS[0]}-1.mp4: expected at least 2 frames, got 1",
        f"{TEXTS[1]}-0.mp4: 48x32 px, 6 frames at 8 per second, while 2 of 3 have 48x32 px, 4",
        f"{TEXTS[1]}-1.mp4: the file is empty",
        "A fantasy landscap-0.mp4: is of no prompt of the suite; did you mean 'A fantasy lands",
        f"{TEXTS[2]}-2.mp4: expected numbers from 0 to 1, as the suite asks for",
        "notes.txt: expected .mp4 and nothing else",
        f"teacher: {TEXTS[1]}-0.mp4: 64x32 px",
        f"teacher: {TEXTS[2]}-0.mp4: 48x32 px, 4 frames at 16 per second, while",
        f"teacher: prompt 0 '{TEXTS[0]}': expected 2 samples, got 1; there is none for number 1",
    ):
        assert text in said, text
    assert len(said.splitlines()) == 11  # and how an incomplete set is taken, for the teacher's


def test_prompts_that_differ_by_case_alone_are_two(videos, tmp_path):
    (tmp_path / "student/4/A fantasy landscape-1.mp4").unlink()
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(videos))
    assert "prompt 2 'A fantasy landscape': expected 2 samples, got 1" in str(caught.value)
    assert "'a fantasy landscape'" not in str(caught.value)
