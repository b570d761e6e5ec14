"""Published numbers: every total from its parts, and never beside a benchmark of the same name."""

import hashlib
import json

import pandas as pd
import pytest

import rcm_bench
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.prompt_sets import _records, prompt_key
from rcm_bench.published import (
    COLUMNS,
    OFFICIAL_PROMPTS,
    prompts_mark,
    published_scores,
    reference_table,
    write_published,
)

TASKS = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
ROW = ["benchmark", "model", "method", "params", "steps", "source"]
# As printed: the paper's own parts give other totals.
INCONSISTENT = {
    ("geneval", "Cosmos-Predict2", "DMD2", "0.6B", 4, "arXiv 2510.08431v3 Table 1"): 0.785,
    ("vbench", "Wan2.1-T2V", "teacher", "14B", 50, "arXiv 2510.08431v3 Table 2"): 83.592,
}


@pytest.fixture(scope="module")
def by_row():
    return published_scores().pivot(index=ROW, columns="metric", values="value")


def test_totals_follow_from_their_parts(by_row):
    """GenEval: mean of six tasks. VBench: (4 quality + semantic) / 5. Both within rounding."""
    geneval = by_row.dropna(subset=["overall"])
    vbench = by_row.dropna(subset=["total", "quality"])
    assert (len(geneval), len(vbench)) == (28, 11)
    derived = pd.concat(
        [
            pd.DataFrame({"printed": geneval["overall"], "derived": geneval[TASKS].mean(axis=1)}),
            pd.DataFrame(
                {
                    "printed": vbench["total"],
                    "derived": (4 * vbench["quality"] + vbench["semantic"]) / 5,
                }
            ),
        ]
    )
    # Total and parts are rounded to 0.01: half a unit each.
    off = derived[(derived["printed"] - derived["derived"]).abs() > 0.01 + 1e-9]
    assert dict(off["derived"].round(4)) == INCONSISTENT


def test_totals_without_parts_are_few_and_known(by_row):
    """One is quoted by others alone; rCM's Table 3 prints totals and no parts of them."""
    bare = by_row[by_row["total"].notna() & by_row["quality"].isna()]
    assert [row[-1] for row in bare.index] == ["Self-Forcing paper, quoted in its issue 92"]
    others = {name for name in by_row if name.endswith(("total", "overall"))}
    assert others == {"total", "overall", "t2v_total", "i2v_total"}
    both = by_row[by_row["t2v_total"].notna() | by_row["i2v_total"].notna()]
    assert {row[-1] for row in both.index} == {"arXiv 2510.08431v3 Table 3"} and len(both) == 2
    assert both[["quality", "semantic", "overall", "total"]].isna().all(axis=None)


def test_every_number_has_a_source_and_a_known_unit():
    scores = published_scores()
    assert (scores["source"] != "").all() and scores["value"].notna().all()
    shares = scores.loc[scores["unit"] == "fraction", "value"]
    assert shares.between(0, 1).all() and len(shares) == 28 * 7
    notes = scores[scores["note"].str.contains("printed")]
    assert len(notes[notes["metric"].isin(["overall", "total"])]) == 2


@pytest.fixture(scope="module")
def official():
    return official_metadata()


def test_the_official_prompts_are_known_exactly(official):
    text = "".join(json.dumps(record) + "\n" for record in official)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
    )
    keys = [prompt_key(record) for record in _records(official, "test")]
    assert prompts_mark(keys) == OFFICIAL_PROMPTS["geneval"] == prompts_mark(keys[::-1])
    assert prompts_mark(keys[:-1]) != OFFICIAL_PROMPTS["geneval"]


PROTOCOL = {
    "prompts": {"samples_per_prompt": 2},
    "resolution": ["[768, 1360]"],
    "scorers": {"geneval": {"scorer": "lab"}},
}


def measurements(model="mine"):
    row = {"benchmark": "geneval", "metric": "overall", "model": model, "steps": 4, "value": 0.8,
           "low": 0.77, "high": 0.83, "unit": "accuracy"}  # fmt: skip
    return pd.DataFrame([row])


def test_published_rows_stand_beside_official_prompts(official):
    keys = [prompt_key(record) for record in _records(official, "test")]
    found = reference_table(measurements(), PROTOCOL, keys)
    assert list(found.table.columns) == COLUMNS and not found.remarks
    assert list(found.table["origin"]) == ["this run"] + ["published"] * 28
    assert set(found.table["metric"]) == {"overall"}
    rcm = found.table.query("model == 'Cosmos-Predict2' and method == 'rCM' and params == '14B'")
    assert list(rcm["value"]) == [0.83, 0.81, 0.82]
    assert rcm["differs"].iloc[0] == (
        "samples per prompt 4, here 2; scorer Mask2Former (mmdet) and CLIP ViT-L/14, here lab; "
        "not stated: rewriting of prompts, seeds, number format, interval"
    )
    sdxl = found.table.query("model == 'SDXL' and method == 'teacher'")
    assert "resolution 1024x1024, here 1360x768" in sdxl["differs"].iloc[0]


def test_published_csv_holds_no_formula(official, tmp_path):
    keys = [prompt_key(record) for record in _records(official, "test")]
    own = measurements().astype(
        {"model": object}
    )  # pyarrow's text, pandas' own, takes no surrogate
    own["model"] = pd.Series(["=HYPERLINK(1)\ud800"], dtype=object)
    table = reference_table(own, PROTOCOL, keys).table
    write_published(table, tmp_path / "published.csv")
    text = (tmp_path / "published.csv").read_text(encoding="utf-8")
    assert "'=HYPERLINK(1)\\ud800" in text and ",=HYPERLINK" not in text
    assert len(pd.read_csv(tmp_path / "published.csv")) == 29


def test_the_laboratory_is_not_shown_beside_papers(suite, tmp_path):
    """Its prompts are others, whatever the benchmark is called."""
    found = reference_table(measurements(), PROTOCOL, ["a", "b"])
    assert not len(found.table)
    assert found.remarks == [
        "published numbers of 'geneval' are not shown: this run's 2 prompts are not the "
        "benchmark's own, so that the same name is another quantity"
    ]
    rcm_bench.run(str(suite()), tmp_path / "out")
    assert not (tmp_path / "out" / "tables" / "published.csv").exists()
    compared = rcm_bench.compare(tmp_path / "out", published=True)
    assert not len(compared.published.table) and compared.done
