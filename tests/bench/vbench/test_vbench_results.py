"""VBench's result files: each kind of row by hand, damage refused by file and key."""

import json
import zipfile

import numpy as np
import pytest

from rcm_bench.errors import UserError
from rcm_bench.vbench.dimensions import T2V
from rcm_bench.vbench.results import (
    InfoRow,
    merge_results,
    pooled,
    read_info,
    read_results,
    split_name,
)
from rcm_bench.vbench.submission import submission, write_results

ROWS = {
    # Each row is as the package writes it; the aggregates are worked out by hand.
    "object_class": [
        (3 + 8) / (16 + 16),
        [
            {"video_path": "v/a cat-0.mp4", "video_results": 3 / 16, "success_frame_count": 3,
             "frame_count": 16},
            {"video_path": "v/a cat-1.mp4", "video_results": 0.5, "success_frame_count": 8,
             "frame_count": 16},
        ],
    ],
    "spatial_relationship": [
        (1 + 0.5 + 0) / 3,
        [
            {"video_path": "v/x-0.mp4", "video_results": 0.75, "frame_results": [1, 0.5]},
            {"video_path": "v/x-1.mp4", "video_results": 0.0, "frame_results": [0.0]},
        ],
    ],
    "human_action": [
        0.5,
        [
            {"video_path": "v/y-0.mp4", "video_results": True, "cor_num_per_video": 1},
            {"video_path": "v/y-1.mp4", "video_results": False, "cor_num_per_video": 0},
        ],
    ],
    "imaging_quality": [0.6, [{"video_path": "v/z-0.mp4", "video_results": 60.0}]],
    "background_consistency": [
        (1.5 + 3.5) / (2 + 4),
        [
            {"video_path": "v/w-0.mp4", "video_results": 0.75, "video_sim": 1.5,
             "cnt_per_video": 2},
            {"video_path": "v/w-1.mp4", "video_results": 0.875, "video_sim": 3.5,
             "cnt_per_video": 4},
        ],
    ],
    "color": [0.25, [{"video_path": "v/c-3.mp4", "video_results": 0.25,
                      "cur_success_frame_rate": 0.25}]],
}  # fmt: skip


def written(tmp_path, data, name="m_eval_results.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data, indent=4))
    return path


def test_every_kind_of_row_gives_the_aggregate_again(tmp_path):
    found = read_results(written(tmp_path, ROWS))
    assert set(found) == set(ROWS)
    for name, result in found.items():
        assert result.aggregate == ROWS[name][0]
        assert pooled(result.videos) == pytest.approx(result.aggregate, rel=1e-12)
        assert result.remarks == ()
    first = found["object_class"].videos[0]
    assert (first.prompt, first.index, first.numerator, first.denominator) == ("a cat", 0, 3, 16)
    assert [v.value for v in found["human_action"].videos] == [1, 0]
    assert found["imaging_quality"].videos[0].value == 0.6


def test_aggregates_of_several_gpus_are_told_apart(tmp_path):
    spatial = [0.375, ROWS["spatial_relationship"][1]]
    style = [0.3, [{"video_path": "a-0.mp4", "video_results": 0.2, "frame_results": [0.1, 0.3],
                    "cur_sim": 0.3}]]  # fmt: skip
    wrong = [0.9, ROWS["color"][1]]
    data = {"spatial_relationship": spatial, "appearance_style": style, "color": wrong}
    found = read_results(written(tmp_path, data))
    assert found["spatial_relationship"].remarks == (
        "aggregate is the mean over videos, not over frames, as on several GPUs",
    )
    assert found["appearance_style"].remarks == (
        "aggregate is that of last frames only; all frames give 0.200000",
    )
    assert found["color"].remarks == ("aggregate 0.900000 is not what its videos give: 0.250000",)


def test_camera_motion_has_three_parts(tmp_path):
    rows = [{"video_path": "v/b, camera pans left-0.mp4", "video_results": 1.0,
             "prompt_type": "pan_left", "predict_type": ["pan_left"]}]  # fmt: skip
    text = json.dumps({"camera_motion": [1.0, {"pan_left": 1.0, "static": float("nan")}, rows]})
    found = read_results(written(tmp_path, text))["camera_motion"]
    assert found.by_type == {"pan_left": 1.0, "static": None}
    assert found.videos[0].prompt == "b, camera pans left"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "expected JSON, got an empty file"),
        ('{"color": [0.5, [', "expected JSON: "),
        ('{"color": [1, []], "color": [1, []]}', "key 'color' comes twice"),
        ([], "expected an object of dimensions, got a list of 0"),
        ({}, "expected an object of dimensions, got an object of 0 keys"),
        ({"colour": [0.5, []]}, "unknown dimension 'colour'. Available: .* Did you mean 'color'"),
        ({"color": 0.5}, r"color: expected \[aggregate, videos\], got 0.5"),
        ({"color": [0.5, []]}, r"color\[1\]: expected at least one scored video, got none"),
        ({"color": ["0.5", [{}]]}, r"color\[0\]: expected the aggregate, got '0.5'"),
        ({"color": [0.5, [3]]}, r"color\[1\]\[0\]: expected an object, got 3"),
        ({"color": [0.5, [{"video_results": 1}]]}, r"\[0\].video_path: expected text, got nothing"),
        (
            {"color": [0.5, [{"video_path": "a-0.mp4", "video_results": None}]]},
            r"\[0\].video_results: expected a number, got nothing",
        ),
        (
            {"dynamic_degree": [0.5, [{"video_path": "a-0.mp4", "video_results": 7}]]},
            r"\[0\].video_results: expected a share from 0 to 1, got 7",
        ),
        (
            {"color": [0.5, [{"video_path": "a-0.mp4", "video_results": 1}] * 2]},
            r"color\[1\]\[1\]: repeats video 0: 'a-0.mp4'",
        ),
        (
            {"scene": [0.5, [{"video_path": "a-0.mp4", "video_results": 1, "frame_count": 16,
                              "success_frame_count": 17}]]},
            "success_frame_count: expected 0 to frame_count, got 17 of 16",
        ),
        (
            '{"color": [NaN, [{"video_path": "a-0.mp4", "video_results": 1}]]}',
            r"color\[0\]: expected the aggregate, got nan: VBench writes that where it scored no",
        ),
        (
            {"scene": [0.5, [{"video_path": "a-0.mp4", "video_results": 0.75, "frame_count": 16,
                              "success_frame_count": 8}]]},
            r"\[0\].video_results: expected what its frames give, 0.5, got 0.75",
        ),
        ('{"color": [1' + "0" * 400 + ', [{}]]}', "got one that no float can hold"),
        ("[" * 100_000, "expected JSON: "),
    ],
)  # fmt: skip
def test_damage_is_refused_by_file_and_key(tmp_path, data, message):
    path = written(tmp_path, data)
    with pytest.raises(UserError, match=message) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_no_file_or_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="none.json: no such file"):
        read_results(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="b.json: expected UTF-8, byte 0 is not"):
        read_results(tmp_path / "b.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path)


def test_info_files(tmp_path):
    cat = {"prompt_en": "a cat", "dimension": ["color"], "auxiliary_info": {"color": {}}}
    rows = [{**cat, "video_list": ["v/a cat-0.mp4"]}, {"prompt_en": "b", "dimension": ["scene"]}]
    found = read_info(written(tmp_path, rows))
    assert found[0] == InfoRow(
        prompt="a cat", dimensions=("color",), videos=("v/a cat-0.mp4",), auxiliary={"color": {}}
    )
    assert found[1].videos == ()
    rows[1]["dimension"] = ["colour"]
    with pytest.raises(UserError, match=r"\[1\].dimension: unknown dimension 'colour'"):
        read_info(written(tmp_path, rows))
    with pytest.raises(UserError, match=r"\[0\].prompt_en: expected text, got 3"):
        read_info(written(tmp_path, [{"prompt_en": 3, "dimension": ["color"]}]))


def test_files_of_single_dimensions_are_put_together_once(tmp_path):
    found = read_results(written(tmp_path, ROWS))
    parts = [(name, {name: result}) for name, result in found.items()]
    assert merge_results(parts) == found
    with pytest.raises(UserError, match="again: color: is in color too; keep one of them"):
        merge_results([*parts, ("again", {"color": found["color"]})])


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("v/a cat-0.mp4", ("a cat", 0)),
        ("well-known x-12.mp4", ("well-known x", 12)),
        ("v/no number.mp4", ("no number", None)),
        ("v/Turtle.-3.mp4", ("Turtle.", 3)),
        ("C:\\v\\a-1.mp4", ("a", 1)),
        ("v/a\nb-2.gif", ("a\nb", 2)),
    ],
)
def test_names_give_prompt_and_number(path, parts):
    assert split_name(path) == parts


def all_sixteen(rng):
    return {
        name: [value := float(rng.uniform(0, 1)),
               [{"video_path": f"v/{name}-0.mp4",
                 "video_results": value * (100 if name == "imaging_quality" else 1)}]]
        for name in T2V
    }  # fmt: skip


def as_the_leaderboard_reads(archive):
    """What the submission script makes of an archive, written from its description."""
    scores = {}
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            data = json.loads(packed.read(name))
            if isinstance(data, dict):
                scores |= {key.replace("_", " "): entry[0] for key, entry in data.items()}
    return scores


def test_the_archive_holds_all_sixteen_or_is_not_made(tmp_path):
    data = all_sixteen(np.random.default_rng())
    found = read_results(written(tmp_path, data))
    info = [InfoRow(prompt="p", dimensions=T2V, videos=("v/p-0.mp4",))]
    files = submission(tmp_path / "out", "mine", found, info)
    assert [path.name for path in files] == [
        "mine_eval_results.json",
        "mine_full_info.json",
        "mine.zip",
    ]
    scores = as_the_leaderboard_reads(files[2])
    assert scores == {name.replace("_", " "): data[name][0] for name in T2V}
    assert read_info(files[1]) == info
    first = files[2].read_bytes()
    assert submission(tmp_path / "out", "mine", found, info)[2].read_bytes() == first
    del found["scene"]
    with pytest.raises(UserError, match="scene not scored, and its script would count that as 0"):
        submission(tmp_path / "bare", "mine", found, info)
    assert not (tmp_path / "bare").exists()


def test_what_was_read_is_written_as_it_was(tmp_path):
    path = written(tmp_path, ROWS)
    write_results(tmp_path / "again.json", read_results(path))
    assert json.loads((tmp_path / "again.json").read_text()) == ROWS
