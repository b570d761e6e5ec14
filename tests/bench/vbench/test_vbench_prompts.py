"""VBench's prompts: rows, duplicates, seeds, rewritten lines, what a suite plans, staging."""

import json
from collections import Counter

import pytest

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.prepare import prepare
from rcm_bench.seeds import seed_of
from rcm_bench.suite_load import load_suite
from rcm_bench.vbench import environment, prompts, staging
from rcm_bench.vbench.dimensions import T2V
from rcm_bench.vbench.presets import DEFAULT, PRESETS, REWRITTEN
from rcm_bench.vbench.prompts import (
    Row,
    distinct,
    num_videos,
    read_rewritten,
    read_rows,
    vbench_metadata,
    video_names,
    write_prompts,
)
from rcm_bench.vbench.staging import Video, check_names, stage, staged_name

GROUPS = [
    ["temporal_flickering"],
    ["appearance_style"],
    ["overall_consistency", "aesthetic_quality", "imaging_quality"],
]
SMALL = [
    # A duplicate in two groups, and two prompts that differ by case alone.
    {"prompt_en": "a still frame", "dimension": GROUPS[0]},
    {"prompt_en": "The harbour, oil painting", "dimension": GROUPS[1],
     "auxiliary_info": {"appearance_style": "oil painting"}},
    {"prompt_en": "a fantasy landscape", "dimension": GROUPS[2]},
    {"prompt_en": "A fantasy landscape", "dimension": GROUPS[2]},
    {"prompt_en": "The harbour, oil painting", "dimension": GROUPS[2]},
]  # fmt: skip


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A file of five rows that passes for the package's."""
    path = tmp_path / "info.json"
    path.write_text(json.dumps(SMALL))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(path))
    return path


def test_a_duplicate_is_sampled_once_under_its_first_row(small):
    rows = read_rows(small)
    records = vbench_metadata(rows, DEFAULT, PRESETS[DEFAULT])
    assert [r["prompt"] for r in records] == list(dict.fromkeys(r["prompt_en"] for r in SMALL))
    twin = records[1]
    assert twin["tag"] == "+".join([*GROUPS[1], *GROUPS[2]])
    assert twin["vbench"]["rows"] == [1, 4]
    assert twin["vbench"]["dimensions"] == [*GROUPS[1], *GROUPS[2]]
    assert twin["vbench"]["auxiliary_info"] == {"appearance_style": "oil painting"}
    assert [len(r["seeds"]) for r in records] == [25, 5, 5, 5]
    assert twin["seeds"] == [seed_of("The harbour, oil painting", j) for j in range(5)]
    preset = PRESETS["vbench-team-wan"]
    seeds = [r["seeds"] for r in vbench_metadata(rows, "x", preset, ["p"] * 5)]
    assert seeds[1] == [100_000, 100_001, 100_002, 100_003, 100_004]
    assert seeds[3] == [300_000, 300_001, 300_002, 300_003, 300_004]


def test_names_come_from_original_prompts_and_are_counted(small):
    names = list(video_names(read_rows(small), PRESETS[DEFAULT]))
    assert len(names) == len(set(names)) == 25 + 15
    assert names[24] == "a still frame-24.mp4" and names[-1] == "A fantasy landscape-4.mp4"


def test_rewritten_prompts_go_by_line(small, tmp_path):
    rows = read_rows(small)
    path = tmp_path / "long.txt"
    path.write_bytes(b"one\r\ntwo\r\nthree\r\nfour\r\nfive")  # as VBench's own file ends its lines
    plain = PRESETS[DEFAULT]
    lines = read_rewritten(path, rows, plain)
    assert lines == ["one", "two", "three", "four", "five"]
    records = vbench_metadata(rows, DEFAULT, plain, lines)
    assert [r["rewritten"] for r in records] == ["one", "two", "three", "four"]
    bare = vbench_metadata(rows, DEFAULT, plain)[0]["vbench"]["fingerprint"]
    assert records[0]["vbench"]["fingerprint"] != bare
    with pytest.raises(UserError, match=r"expected gpt_enh.*longer.txt .*58ed0665de52c1bd\)"):
        read_rewritten(path, rows, PRESETS["gpt-4o"])
    with pytest.raises(UserError, match="preset 'gpt-4o' needs the rewritten prompts gpt_enhanced"):
        vbench_metadata(rows, "gpt-4o", PRESETS["gpt-4o"])
    for text, message in (
        (b"one\ntwo\n", "expected 5 lines, one for each row, got 2"),
        (b"one\ntwo\n\nfour\nfive\n", "long.txt:3: expected a prompt, got an empty line"),
        (b"\xff\n", "expected UTF-8, byte 0 is not"),
    ):
        path.write_bytes(text)
        with pytest.raises(UserError, match=message):
            read_rewritten(path, rows, plain)


def test_another_file_of_prompts_is_refused(tmp_path):
    path = tmp_path / "VBench_full_info.json"
    with pytest.raises(UserError, match="no such file; expected the VBench_full_info.json"):
        read_rows(path)
    path.write_text(json.dumps(SMALL))
    with pytest.raises(UserError, match="expected the VBench_full_info.json of vbench 0.1.5"):
        read_rows(path)


def test_presets_differ_in_their_fingerprints():
    prints = {name: preset.fingerprint() for name, preset in PRESETS.items()}
    assert len(set(prints.values())) == len(PRESETS)
    assert all(preset.source for preset in PRESETS.values())
    assert {preset.videos for preset in PRESETS.values()} == {5}  # what suite.Prompts takes
    assert {p.rewriting for p in PRESETS.values()} == {"none", *REWRITTEN}


TINY = {
    "prompts: {file: prompts.txt, samples_per_prompt: 3}": "prompts: {set: vbench, info: info.json}"
}


def test_a_suite_plans_vbench(small, suite):
    """25 videos for flickering, 5 for the others; the model sees the rewritten prompt."""
    path = suite(**TINY)
    prepared = prepare(load_suite(str(path), {}))
    counts = Counter(i.prompt for i in prepared.plan.items if (i.model, i.steps) == ("teacher", 1))
    assert sorted(counts.values()) == [5, 5, 5, 25]
    assert prepared.loaded.suite.prompts.samples_per_prompt == 5
    (small.parent / "long.txt").write_text("1\n2\n3\n4\n5\n")
    more = suite(**{k: v.replace("}", ", rewritten: long.txt, samples_per_prompt: 1}")
                    for k, v in TINY.items()})  # fmt: skip
    plan = prepare(load_suite(str(more), {})).plan
    own = {i.prompt: i for i in plan.items if (i.model, i.steps) == ("teacher", 1)}
    assert own["The harbour, oil painting"].prompt_rewritten == "2"
    assert len([i for i in plan.items if i.prompt == "a still frame"]) == 5 * 4
    first = {i.prompt: i for i in prepared.plan.items if (i.model, i.steps) == ("teacher", 1)}
    assert all(own[p].sample_key != first[p].sample_key for p in own)


def test_the_prompts_of_one_dimension_are_those_of_the_whole_set(small, suite):
    """Seeds, rewriting and twins too, so that the whole set takes what a part has sampled."""
    (small.parent / "long.txt").write_text("1\n2\n3\n4\n5\n")
    text = "prompts: {set: vbench, info: info.json, rewritten: long.txt"
    (old,) = TINY
    whole = prepare(load_suite(str(suite(**{old: text + "}"})), {})).plan
    for name, own in (
        ("imaging_quality", {r["prompt_en"] for r in SMALL} - {"a still frame"}),
        ("appearance_style", {"The harbour, oil painting"}),
    ):
        part = suite(**{old: f"{text}, dimensions: [{name}]}}"})
        plan = prepare(load_suite(str(part), {})).plan
        assert {i.prompt for i in plan.items} == own
        keys = {i.sample_key for i in whole.items if i.prompt in own}
        assert {i.sample_key for i in plan.items} == keys and len(keys) == 4 * 5 * len(own)


def test_a_benchmark_is_not_left_without_prompts(small, suite):
    (old,) = TINY
    text = "prompts: {set: vbench, info: info.json, dimensions: [aesthetic_quality]}"
    asked = "benchmarks: {vbench: {dimensions: [imaging_quality, appearance_style, color]}}"
    path = suite(**{old: text, "benchmarks: {brightness: {}}": asked})
    lacking = (
        "without prompts for appearance_style, color; name these here too, or say 'dimensions'"
    )
    with pytest.raises(UserError, match=f"prompts.dimensions: leaves benchmarks.vbench {lacking}"):
        prepare(load_suite(str(path), {}))


def test_the_protocol_names_preset_seeds_and_rewriting(small, suite):
    from rcm_bench.manifest import counts, make_protocol

    path = suite(**TINY)
    prepared = prepare(load_suite(str(path), {}))
    protocol = make_protocol(prepared.plan, prepared.benchmarks)
    assert protocol["prompts"]["preset"] == "vbench" and protocol["rewriting"] == "none"
    assert len(protocol["prompts"]["fingerprint"]) == 12
    counted = counts(prepared.plan, prepared.models)
    assert counted["num_items"] == 4 * 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("preset: vbemch", "unknown VBench preset 'vbemch'.* Did you mean 'vbench'"),
        ("preset: long", "preset 'long' is VBench-Long, which is not run here"),
        ("preset: gpt-4o", r"tiny.yaml:9: prompts.preset: preset 'gpt-4o' needs the rewritten"),
        (
            "rewritten: none.txt",
            "tiny.yaml:9: prompts.rewritten: none.txt: no such file, neither in",
        ),
        ("info: none.json", "tiny.yaml:9: prompts.info: none.json: no such file, neither in"),
        ("dimensions: [colour]", "prompts.dimensions: unknown VBench dimension 'colour'.* 'color'"),
    ],
)
def test_faults_of_a_suite_name_their_place(changed, message, small, suite):
    text = "prompts: {set: vbench, info: info.json, " + changed + "}"
    if changed.startswith("info"):
        text = "prompts: {set: vbench, " + changed + "}"
    path = suite(**{next(iter(TINY)): text})
    with pytest.raises(UserError, match=message):
        prepare(load_suite(str(path), {}))


def test_a_shipped_suite_finds_files_in_the_working_folder(small, suite, tmp_path, monkeypatch):
    """As it finds weights there: ``INFO=info.json`` beside a suite in the wheel."""
    path = suite(**{next(iter(TINY)): "prompts: {set: vbench, info: info.json}"})
    digests = {prepare(load_suite(str(path), {})).plan.digest()}
    (tmp_path / "here").mkdir()
    small.rename(tmp_path / "here" / "info.json")
    monkeypatch.chdir(tmp_path / "here")
    assert {prepare(load_suite(str(path), {})).plan.digest()} == digests


def test_without_its_environment_the_command_that_builds_it_is_named(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(tmp_path / "none"))
    path = suite(**{next(iter(TINY)): "prompts: {set: vbench}"})
    with pytest.raises(UserError, match="is not built; build it: python -m rcm_bench.vbench build"):
        prepare(load_suite(str(path), {}))


def test_prompts_are_written_in_vbenchs_formats(small, tmp_path):
    files = write_prompts(small, tmp_path / "out")
    assert [p.name for p in files] == ["VBench_full_info.json", "all_dimension.txt", "videos.txt"]
    assert files[0].read_bytes() == small.read_bytes()
    assert files[1].read_text().splitlines() == [row["prompt_en"] for row in SMALL]
    assert len(files[2].read_text().splitlines()) == 40


@pytest.mark.slow
def test_the_packages_own_file():
    """946 rows, 944 prompts, 6,220 videos; two duplicates and one pair that differs by case."""
    try:
        path = environment.find().info
    except UserError as fault:
        pytest.skip(str(fault))
    rows = read_rows(path)
    twins = {prompt: own for prompt, own in distinct(rows).items() if len(own) > 1}
    assert (len(rows), len(distinct(rows)), len(twins)) == (946, 944, 2)
    assert [[row.row for row in own] for own in twins.values()] == [[495, 748], [503, 746]]
    assert Counter(p.casefold() for p in distinct(rows)).most_common(1)[0] == (
        "a fantasy landscape", 2)  # fmt: skip
    preset = PRESETS[DEFAULT]
    names = list(video_names(rows, preset))
    assert len(names) == len(set(names)) == 944 * 5 + 75 * 20 == 6220
    assert all(len(name.encode()) <= staging.MAX_NAME_BYTES for name in names)
    wanted = Counter(d for row in rows for d in row.dimensions)
    assert set(wanted) == set(T2V) and wanted["temporal_flickering"] == 75
    assert sum(num_videos(own, preset) for own in distinct(rows).values()) == 6220


def videos(folder, prompts=("a", "b"), num=2):
    found = []
    for p, prompt in enumerate(prompts):
        for i in range(num):
            path = folder / f"{p}-{i}.mp4"
            path.write_bytes(b"x")
            found.append(Video(prompt=prompt, index=i, path=path))
    return found


def test_staging_links_under_original_prompts(tmp_path):
    own = videos(tmp_path, ("a fantasy landscape", "A fantasy landscape", "$(x) & 'y'"))
    named = stage(own, tmp_path / "stage")
    there = sorted(p.name for p in (tmp_path / "stage").iterdir())
    assert there == sorted(named) and len(there) == 6
    assert (tmp_path / "stage" / "A fantasy landscape-1.mp4").resolve() == own[3].path
    with pytest.raises(FileExistsError):  # never into a folder where something may lie
        stage(own, tmp_path / "stage")


def test_copies_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(staging.os, "symlink", refuse)
    stage(videos(tmp_path), tmp_path / "stage")
    assert (tmp_path / "stage" / "a-0.mp4").read_bytes() == b"x"
    assert not (tmp_path / "stage" / "a-0.mp4").is_symlink()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("../../etc/passwd", "holds a slash"),
        ("a\\b", "holds a slash"),
        (".hidden", "starts with a dot"),
        ("two\nlines", "holds a line break"),
        ("nul\0", "control character"),
        ("right-to-left \u202e", "control character"),
        ("", "it is empty"),
        ("x" * 300, "expected at most 255 bytes with number and suffix, got 306"),
        ("\u00e9" * 125, "got 256"),
        ("\ud800", "cannot name a file"),
    ],
)
def test_prompts_that_name_no_file_are_refused(prompt, message, tmp_path):
    with pytest.raises(UserError, match=message):
        staged_name(Video(prompt=prompt, index=0, path=tmp_path / "a.mp4"))


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a.png: expected a video \(.mp4 or .gif\), got '.png'"):
        stage([Video(prompt="a", index=0, path=tmp_path / "a.png")], tmp_path / "s1")
    with pytest.raises(UserError, match="none.mp4: no such video"):
        stage([Video(prompt="a", index=0, path=tmp_path / "none.mp4")], tmp_path / "s2")
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="a.mp4: expected a video, got an empty file"):
        stage([Video(prompt="a", index=0, path=tmp_path / "a.mp4")], tmp_path / "s3")
    own = videos(tmp_path)
    with pytest.raises(UserError, match="video 0 of prompt 'a' comes twice; the other is"):
        stage([*own, own[0]], tmp_path / "s4")
    (tmp_path / "c.gif").write_bytes(b"x")
    mixed = [*own, Video(prompt="c", index=0, path=tmp_path / "c.gif")]
    with pytest.raises(UserError, match="expected videos of one kind"):
        stage(mixed, tmp_path / "s5")


def test_a_file_system_that_does_not_tell_case_is_found_out(tmp_path, monkeypatch):
    assert staging.tells_case(tmp_path)
    monkeypatch.setattr(staging, "tells_case", lambda folder: False)
    with pytest.raises(UserError, match="'a x-0.mp4' and 'A x-0.mp4' are one file"):
        stage(videos(tmp_path, ("a x", "A x")), tmp_path / "stage")
    stage(videos(tmp_path, ("a x", "b x")), tmp_path / "other")


def test_counts_and_names_of_a_folder():
    check_names([("a", 0)], [("a", 0)], [("a", 0), ("b", 0)], "v")
    five = [("a", i) for i in range(5)]
    with pytest.raises(UserError) as caught:
        check_names([("a", 0), ("b", 0)], five, five, "v")
    assert str(caught.value) == (
        "v: 4 of 5 videos are missing ('a-1', 'a-2', 'a-3', ...); "
        "1 videos are not of this set ('b-0')"
    )


def test_a_row_knows_its_group():
    assert Row(row=0, prompt="a", dimensions=("background_consistency", "scene")).group == (
        "scene+background_consistency"
    )
