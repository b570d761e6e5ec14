"""Files beside the page: what is taken, under which name, and what a video's header says."""

import json
import math
import os
import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from evil_run import EVIL
from PIL import Image
from synthetic_report import SMALL, build
from synthetic_videos import FPS, FRAMES, clip, with_videos

from rcm_reports import render
from rcm_reports.judgements import boxes, judgements
from rcm_reports.media import FOLDER, blob_path, drop_media, medium, put_media
from rcm_reports.mp4 import VideoFacts, video_facts
from rcm_reports.page import build_page
from rcm_reports.study import build_study

PNG = b"\x89PNG\r\n\x1a\n"


def test_files_are_named_by_their_content(tmp_path):
    path = tmp_path / "any name.PNG"
    path.write_bytes(PNG + b"1")
    assert medium(path).name == sha256(PNG + b"1").hexdigest()[:32] + ".png"
    stored = tmp_path / ("ab" * 32 + ".png")
    stored.write_bytes(PNG + b"2")
    assert medium(stored).name == "ab" * 16 + ".png", "the store's own names are digests"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"<html><script>"),
        ("a.mp4", b"<html><script>"),
        ("a.svg", b"<svg onload='alert(1)'>"),
        ("a.html", PNG),
        ("a", PNG),
        ("a.jpg", PNG),
        ("a.png", b""),
    ],
)
def test_a_file_that_is_not_what_it_says_is_not_taken(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert medium(tmp_path / name) is None


@pytest.mark.parametrize("name", [*EVIL, "", None, 3.0, "..", ".", "/", "a\x00b", float("nan")])
def test_hostile_paths_name_no_file(tmp_path, name):
    assert blob_path(tmp_path / "run", {"blob": name}) is None


def test_links_out_of_the_run_are_not_followed(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    (run / "link.png").symlink_to(tmp_path / "secret.png")
    assert blob_path(run, {"blob": "link.png"}) is None
    assert blob_path(run, {"blob": "../secret.png"}) is None
    (run / "own.png").write_bytes(PNG)
    assert blob_path(run, {"blob": "own.png"}) == (run / "own.png").resolve()


def test_rows_of_joined_runs_bring_their_folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(PNG + name.encode())
    row = {"blob": "a.png", "run_dir": str(tmp_path / "two")}
    assert blob_path(tmp_path / "one", row).read_bytes() == PNG + b"two"
    assert blob_path(tmp_path / "one", {"blob": "a.png"}).read_bytes() == PNG + b"one"


def test_media_are_linked_or_copied_once(tmp_path, monkeypatch):
    source = tmp_path / "a.png"
    source.write_bytes(PNG)
    put_media({"x.png": source}, tmp_path / "linked")
    assert (tmp_path / "linked" / "x.png").samefile(source)

    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    put_media({"x.png": source}, tmp_path / "copied")
    assert (tmp_path / "copied" / "x.png").read_bytes() == PNG
    assert not (tmp_path / "copied" / "x.png").samefile(source)
    put_media({"x.png": tmp_path / "gone"}, tmp_path / "copied")  # there already: nothing to do
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["x.png"]


def test_every_sample_of_a_run_lies_beside_its_page(tmp_path):
    run = build(tmp_path, SMALL)
    page = render(run, tmp_path / "report")
    stored = {(tmp_path / blob).read_bytes() for blob in run.samples["blob"]}
    beside = {path.read_bytes() for path in (page.parent / "media").iterdir()}
    assert beside == stored
    text = page.read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in text for path in (page.parent / "media").iterdir())


def test_a_video_header_says_frames_and_rate(tmp_path):
    for count, fps in ((FRAMES, FPS), (7, 24.0), (1, 16.0)):
        path = tmp_path / f"{count}.mp4"
        path.write_bytes(clip(0, count=count, fps=fps))
        assert video_facts(path) == VideoFacts(count, pytest.approx(fps))


def test_broken_headers_say_nothing(tmp_path):
    """Cut anywhere, or with bytes changed at random: an answer or None, never an error."""
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    rng = np.random.default_rng(seed)
    whole = clip(0, count=2)
    path = tmp_path / "broken.mp4"
    for cut in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:cut])
        video_facts(path)
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(0, len(data), 12)
        data[at] = rng.integers(0, 256, 12)
        path.write_bytes(data.tobytes())
        video_facts(path)
    path.write_bytes(struct.pack(">I4s", 2**31, b"moov"))
    assert video_facts(path) is None
    path.write_bytes(struct.pack(">I4s", 0, b"free"))
    assert video_facts(path) is None


def test_videos_carry_their_frames_and_posters(tmp_path):
    run = with_videos(build(tmp_path, replace(SMALL, images=False)), columns=False)
    built = build_page(run)
    data = json.loads(built.text.split('id="shots">')[1].split("</script>")[0])
    assert {tuple(sample[12:]) for sample in data["samples"]} == {(FRAMES, FPS)}
    assert len(built.media) == len(run.samples)
    with Image.open(tmp_path / "blobs" / "vv" / "poster0.png") as poster:
        assert {(s[7], s[8]) for s in data["samples"] if s[7:9] != [0, 0]} == {poster.size}


def test_a_video_without_header_or_columns_has_no_frame_rate(tmp_path):
    run = build(tmp_path, replace(SMALL, images=False))
    (tmp_path / "odd.mp4").write_bytes(b"\x00\x00\x00\x08ftyp")
    built = build_page(replace(run, samples=run.samples.assign(blob="odd.mp4")))
    data = json.loads(built.text.split('id="shots">')[1].split("</script>")[0])
    assert all(sample[11:] in ([0, 0], []) for sample in data["samples"])


def test_boxes_come_as_a_list_or_by_name():
    assert boxes([[1, 2, 3, 4, 0.987, "cup"], [1, 2, 3, 4]]).counted == [
        [1.0, 2.0, 3.0, 4.0, 0.99, "cup"],
        [1.0, 2.0, 3.0, 4.0, None, ""],
    ]
    assert boxes({"cup": [[1, 2, 3, 4, 0.5]], "cat": []}).counted == [
        [1.0, 2.0, 3.0, 4.0, 0.5, "cup"]
    ]
    for nothing in (None, 3, "x", [1, 2], [[1, 2, 3]], [["a", 2, 3, 4]], {"cup": 3}):
        assert boxes(nothing).counted == []
    assert boxes([[float("nan"), 2, 3, 4], [1, 2, 3, float("inf")]]).counted == []
    assert boxes([[1, 2, 3, 4, float("nan"), "x"]]).counted == [[1.0, 2.0, 3.0, 4.0, None, "x"]]


def test_the_viewer_holds_whole_prompts_of_every_task(tmp_path, monkeypatch):
    monkeypatch.setattr("rcm_reports.gallery_data.MAX_SAMPLES", 200)
    monkeypatch.setattr("rcm_reports.gallery.MAX_CELLS", 26)
    run = build(tmp_path, replace(SMALL, num_prompts=30))
    built = build_page(run)
    data = json.loads(built.text.split('id="shots">')[1].split("</script>")[0])
    counts: dict[int, int] = {}
    for sample in data["samples"]:
        counts[sample[1]] = counts.get(sample[1], 0) + 1
    whole = [data["prompts"][p] for p, n in counts.items() if n == 26]
    assert len(whole) >= 7 and len({task for _, _, task in whole}) == 6
    assert f"The viewer holds {len(data['samples'])} of 780 samples" in built.text.replace(
        "\xa0", " "
    )
    assert Path(next(iter(built.media.values()))).is_file()


def test_media_of_an_older_page_go_and_what_is_not_ours_stays(tmp_path):
    page, folder = tmp_path / "index.html", tmp_path / FOLDER
    folder.mkdir()
    old, new = f"{'0' * 32}.png", f"{'1' * 32}.png"
    foreign = ["notes.txt", "photo.png", f"{'2' * 31}.png", f"{'3' * 32}.txt", f"{'4' * 32}"]
    for name in (old, new, *foreign):
        (folder / name).write_text("")
    page.write_text("")
    (tmp_path / "other.html").write_text("")
    drop_media({new: folder}, page)
    assert (folder / old).exists()  # another page may show it
    (tmp_path / "other.html").unlink()
    drop_media({new: folder}, page)
    assert sorted(path.name for path in folder.iterdir()) == sorted([new, *foreign])


def test_boxes_that_no_rule_counts_are_counted_and_not_drawn():
    noted = [[0, 0, 1, 1, 0.001, "a"], [0, 0, 1, 1, 0.3, "b"], [0, 0, 1, 1, 0.31, "c"], [0] * 4]
    found = boxes(noted, 0.3)
    assert ([box[5] for box in found.counted], found.more) == (["c", ""], 2)
    assert boxes({"cup": noted}, 0.31) == ([[0.0, 0.0, 0.0, 0.0, None, "cup"]], 3)


def test_the_protocol_says_from_which_confidence_a_task_counts(tmp_path):
    report = build(tmp_path, replace(SMALL, images=False))
    rules = {"threshold": 0.3, "counting_threshold": 0.9}
    scorers = {"geneval": {"settings": {"rules": rules}}}
    protocol = {**report.manifest["protocol"], "scorers": scorers}
    ruled = replace(report, manifest={**report.manifest, "protocol": protocol})
    tasks = dict(zip(report.samples["item_id"], report.samples["task"], strict=True))
    for one, wanted in ((ruled, {"counting": 0.9}), (report, None)):
        found = judgements(one, build_study(one))
        for item, judged in found.items():
            expected = -math.inf if wanted is None else wanted.get(tasks[item], 0.3)
            assert judged.threshold == expected
    assert "counting" in tasks.values()
