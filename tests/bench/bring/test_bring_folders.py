"""Folders from elsewhere: taken byte for byte, refused by name, and never said to be verified."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from brought_folders import RECORDS, image_bytes
from PIL import Image

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.finish import open_run


def tables(run):
    return {path.name: path.read_bytes() for path in sorted((run / "tables").glob("*.csv"))}


def faults(path):
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(path))
    return str(caught.value)


def test_folders_become_a_paired_grid(bring, tmp_path):
    outcome = rcm_bench.run(str(bring()), tmp_path / "out")
    assert outcome.whole and outcome.done
    paired = pd.read_csv(tmp_path / "out/tables/paired.csv")
    assert set(zip(paired["model"], paired["steps"], strict=True)) == {
        ("student", 1),
        ("student", 2),
    }
    assert set(paired["reference_model"]) == {"teacher"} and set(paired["n_prompts"]) == {24}
    assert paired["difference_low"].notna().all()
    own = pd.read_csv(tmp_path / "out/tables/measurements.csv")
    for row in own.itertuples():
        files = (tmp_path / row.model / str(row.steps)).glob("*/samples/*.png")
        means = [np.asarray(Image.open(path)).mean() / 255 for path in files]
        assert row.n_samples == 72 and row.value == pytest.approx(np.mean(means), abs=1e-6)


def test_files_are_stored_byte_for_byte(bring, tmp_path):
    path = bring()
    rng = np.random.default_rng()
    jpeg = image_bytes(rng, file_format="JPEG")
    for file in (tmp_path / "teacher/8").glob("*/samples/*.png"):
        file.with_suffix(".jpg").write_bytes(jpeg)
        file.unlink()
    rcm_bench.run(str(path), tmp_path / "out")
    run = open_run(tmp_path / "out")
    samples = run.store.index().samples
    blobs = {item.model: samples[item.sample_key]["blob"] for item in run.plan.items}
    assert blobs["teacher"].endswith(".jpg") and blobs["student"].endswith(".png")
    assert run.store.blobs.read(blobs["teacher"]) == jpeg
    stored = {run.store.blobs.read(s["blob"]) for s in samples.values()}
    given = {p.read_bytes() for p in tmp_path.glob("*/*/*/samples/*.*")}
    assert stored == given


def test_scored_twice_the_tables_are_the_same(bring, tmp_path):
    path = bring()
    for name in ("first", "second"):
        rcm_bench.run(str(path), tmp_path / name)
    before = tables(tmp_path / "first")
    assert before == tables(tmp_path / "second")
    rcm_bench.score(tmp_path / "first")
    assert tables(tmp_path / "first") == before


def test_what_nobody_recorded_is_unknown(bring, tmp_path, drawn):
    outcome = rcm_bench.run(str(bring()), tmp_path / "out")
    protocol = json.loads((tmp_path / "out/manifest.json").read_text())["protocol"]
    for part in ("seeds", "noise", "rewriting", "negative_prompt"):
        assert protocol[part] == "not recorded"
    assert protocol["codec"] == "not recorded (png as brought)"
    assert protocol["dtype"] == ["not recorded"] and protocol["resolution"] == ["[12, 16]"]
    assert protocol["samplers"]["not recorded"] == {"kind": "elsewhere", "about": "not recorded"}
    paired = pd.read_csv(tmp_path / "out/tables/paired.csv")
    assert paired["method"].str.endswith("; not verified: protocol not recorded").all()
    said = "nobody recorded sampler and guidance, seeds, noise, rewriting of prompts"
    assert said in (tmp_path / "out/report/index.html").read_text()
    assert any(said in remark for remark in outcome.remarks)
    compared = rcm_bench.compare(tmp_path / "out", tmp_path / "out")
    assert not compared.paired["verified"].any()


def test_the_same_files_brought_twice_are_said(bring, tmp_path, drawn):
    """A path that was not changed for a second number of steps gives a tie that means nothing."""
    path = bring()
    outcome = rcm_bench.run(str(path), tmp_path / "first")
    assert not any("very same files" in remark for remark in outcome.remarks)
    shutil.rmtree(tmp_path / "student/2")
    shutil.copytree(tmp_path / "student/1", tmp_path / "student/2")
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    said = "student at 1 step and student at 2 steps are the very same files: what was brought"
    assert any(remark.startswith(said) for remark in outcome.remarks)
    assert said in (tmp_path / "out/report/index.html").read_text()


def test_what_the_user_states_is_recorded(bring, tmp_path):
    stated = (
        'recorded: {checkpoint: mine-1, seeds: "42", noise: CUDA, rewriting: none, '
        'negative_prompt: "", dtype: bfloat16}'
    )
    path = bring(
        **{
            'path: "teacher/{steps}", ': f'path: "teacher/{{steps}}", sampler: ours, {stated}, ',
            'path: "student/{steps}"': f'path: "student/{{steps}}", sampler: ours, {stated}',
            "{unused: {kind: euler}}": '{ours: {kind: elsewhere, about: "Euler, guidance 4"}}',
        }
    )
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    protocol = json.loads((tmp_path / "out/manifest.json").read_text())["protocol"]
    assert (protocol["seeds"], protocol["dtype"]) == ("42", ["bfloat16"])
    assert protocol["negative_prompt"] is None and protocol["rewriting"] == "none"
    assert not any("Not verified" in remark for remark in outcome.remarks)
    paired = pd.read_csv(tmp_path / "out/tables/paired.csv")
    assert not paired["method"].str.contains("not verified").any()


def test_times_and_evaluations_are_missing_with_the_reason(bring, tmp_path):
    path = bring(**{"{brightness: {}}": "{brightness: {}, latency: {}}"})
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    own = pd.read_csv(tmp_path / "out/tables/measurements.csv").query("benchmark == 'latency'")
    assert len(own) == 3 and own["value"].isna().all() and own["se"].isna().all()
    assert set(own["method"]) == {"not known: the samples were made elsewhere"}
    assert not len(pd.read_csv(tmp_path / "out/tables/timing.csv"))
    samples = open_run(tmp_path / "out").store.index().samples
    assert {(s["nfe"], s["device"]) for s in samples.values()} == {(None, None)}
    assert any("Times and network evaluations" in remark for remark in outcome.remarks)
    assert outcome.done


def test_everything_that_is_wrong_is_said_at_plan(bring, tmp_path):
    path = bring()
    good = image_bytes(np.random.default_rng())
    one = tmp_path / "student/1"
    (one / "00003/samples/00001.png").write_bytes(b"")
    (one / "00004/samples/00002.png").write_bytes(good[:-40])
    (one / "00005/samples/00000.png").write_bytes(image_bytes(np.random.default_rng(), (16, 12)))
    (one / "00006/samples/00000.png").write_bytes(
        image_bytes(np.random.default_rng(), file_format="JPEG")
    )
    (one / "00007/samples/00001.png").unlink()
    (one / "00008/samples/00003.png").write_bytes(good)
    (one / "00009/samples/last.png").write_bytes(good)
    (one / "00010/metadata.jsonl").unlink()
    (one / "00011/metadata.jsonl").write_text('{"prompt": "a photo of another"}')
    shutil.rmtree(one / "00020")
    shutil.rmtree(one / "00021")
    wide = tmp_path / "student/2/00000/samples/00000.png"
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((12, 16), dtype=np.uint16)).save(buffer, format="PNG")
    wide.write_bytes(buffer.getvalue())
    said = faults(path)
    for text in (
        "00003/samples/00001.png: the file is empty",
        "00004/samples/00002.png: not a whole image (",
        "00005/samples/00000.png: 12x16 px, png, while ",
        "00006/samples/00000.png: its name says .png, its bytes are .jpg",
        "prompt 7 'a photo of number 7': expected 3 samples, got 2; there is none for number 2",
        "00008/samples: expected 3 images, got 4; the suite says how many under",
        "00009/samples/last.png: expected images named by a number, such as 00000.png",
        "00010/metadata.jsonl: no such file; GenEval reads a folder's prompt from it",
        "00011/metadata.jsonl: 'a photo of another' of task 'prompt' is no prompt of the suite",
        "4 of 24 prompts have no samples: prompt 10 to 11, 20 to 21",
        "student/2: 00000/samples/00000.png: expected 8 bits a channel, got mode I;16",
    ):
        assert text in said, text
    # Every fault is a line of its own, with the key, the folder and the file.
    assert len(said.splitlines()) == 11
    assert all("bring.yaml:4: models.student.path: " in line for line in said.splitlines())
    assert not (tmp_path / "runs").exists()


def test_folders_in_another_layout_are_told_apart(bring, tmp_path):
    path = bring(**{"student/{steps}": "student"}, **{"steps: [1, 2]": "steps: [1]"})
    assert (
        f"models.student.path: {tmp_path / 'student'}: holds no samples in layout 'geneval': "
        "expected 00000/metadata.jsonl and 00000/samples/00000.png; its folder 1 looks like layout "
        "'geneval'"
    ) in faults(path)


def test_several_step_counts_need_several_folders(bring):
    said = faults(bring(**{"student/{steps}": "student"}))
    assert "models.student.path: expected '{steps}' in the path, since there are 2" in said


def test_folders_that_are_not_there_are_named_for_every_step(bring, tmp_path):
    path = bring()
    shutil.rmtree(tmp_path / "student")
    said = faults(path)
    assert "student/1: no such file or folder" in said and "student/2: no such file" in said


def test_incomplete_sets_are_an_error_unless_asked_for(bring, tmp_path):
    path = bring()
    (tmp_path / "student/2/00004/samples/00002.png").unlink()
    assert "a set that lacks samples is taken with 'incomplete: true'" in faults(path)
    text = path.read_text().replace(
        'path: "student/{steps}"', 'path: "student/{steps}", incomplete: true'
    )
    path.write_text(text)
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    assert not outcome.whole and not outcome.done
    own = pd.read_csv(tmp_path / "out/tables/measurements.csv")
    counts = own.set_index(["model", "steps"])[["n_samples", "n_missing"]]
    assert tuple(counts.loc[("student", 2)]) == (71, 1)
    assert tuple(counts.loc[("student", 1)]) == (72, 0)


def test_damage_is_refused_of_incomplete_sets_too(bring, tmp_path):
    path = bring(**{'path: "student/{steps}"': 'path: "student/{steps}", incomplete: true'})
    (tmp_path / "student/2/00004/samples/00002.png").write_bytes(b"")
    assert "00004/samples/00002.png: the file is empty" in faults(path)


def test_mixed_sizes_are_taken_where_the_suite_says_so(bring, tmp_path):
    path = bring(**{'path: "student/{steps}"': 'path: "student/{steps}", sizes: mixed'})
    image = image_bytes(np.random.default_rng(), (20, 9))
    (tmp_path / "student/2/00004/samples/00002.png").write_bytes(image)
    assert rcm_bench.run(str(path), tmp_path / "out").whole
    protocol = json.loads((tmp_path / "out/manifest.json").read_text())["protocol"]
    assert "[[12, 16], [20, 9]]" in protocol["resolution"]


def test_a_file_that_changes_is_read_anew(bring, tmp_path):
    path = bring()
    before = rcm_bench.plan(str(path)).out
    target = tmp_path / "student/2/00004/samples/00002.png"
    target.write_bytes(image_bytes(np.random.default_rng()))
    assert rcm_bench.plan(str(path)).out != before
    target.write_bytes(b"")
    assert "the file is empty" in faults(path)


def test_names_of_a_plain_folder_say_line_and_number(bring, tmp_path):
    path = bring(**{'layout: geneval, path: "student/{steps}"': 'layout: plain, path: "p{steps}"'})
    rng = np.random.default_rng()
    for steps in (1, 2):
        (tmp_path / f"p{steps}").mkdir()
        for line in range(len(RECORDS)):
            for k in range(3):
                (tmp_path / f"p{steps}/{line}-{k}.png").write_bytes(image_bytes(rng))
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    assert outcome.whole
    run = open_run(tmp_path / "out")
    item = next(i for i in run.plan.items if i.model == "student" and i.steps == 2)
    line = int(item.prompt_id.partition("-")[0])
    blob = run.store.index().samples[item.sample_key]["blob"]
    given = (tmp_path / f"p2/{line}-{item.seed_index}.png").read_bytes()
    assert run.store.blobs.read(blob) == given
    (tmp_path / "p1/24-0.png").write_bytes(image_bytes(rng))
    (tmp_path / "p1/3-3.png").write_bytes(image_bytes(rng))
    (tmp_path / "p2/first.png").write_bytes(image_bytes(rng))
    said = faults(path)
    assert "24-0.png: the suite has no prompt 24" in said
    assert "3-3.png: expected numbers from 0 to 2, as the suite asks for" in said
    assert "first.png: expected <line>-<number>.png, .jpg or .mp4" in said


def test_a_hostile_name_cannot_act_on_the_terminal(bring, tmp_path):
    path = bring()
    (tmp_path / "student/1/00003/samples/\x1b[2Jx\n.png").write_bytes(b"")
    said = faults(path)
    assert "\x1b" not in said and "\\x1b[2Jx\\n.png: expected images named by a number" in said
