"""What must hold of VBench's names, files and sums whatever they are of."""

import json

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from rcm_bench.measured import cells
from rcm_bench.statistics import value_of
from rcm_bench.statistics.vbench_dimensions import NAMES
from rcm_bench.vbench.editions import EDITIONS
from rcm_bench.vbench.measures import measure
from rcm_bench.vbench.results import (
    DimensionResult,
    VideoResult,
    pooled,
    read_results,
    split_name,
)
from rcm_bench.vbench.staging import Video, staged_name
from rcm_bench.vbench.submission import write_results

PROMPTS = st.text(
    st.characters(blacklist_categories=("C", "Z"), blacklist_characters="/\\"),
    min_size=1,
    max_size=40,
).filter(lambda text: text.isprintable() and not text.startswith("."))
FLICKERING = "temporal_flickering"


@settings(deadline=None)
@given(PROMPTS, st.integers(0, 999))
def test_a_name_gives_its_prompt_and_number_back(tmp_path_factory, prompt, index):
    video = Video(prompt=prompt, index=index, path=tmp_path_factory.getbasetemp() / "a.mp4")
    name = staged_name(video)
    assert split_name(name) == split_name(f"/some/where/{name}") == (prompt, index)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(PROMPTS, st.integers(1, 16), st.floats(0, 1)), min_size=1, max_size=6,
             unique_by=lambda row: row[0]),
)  # fmt: skip
def test_a_result_file_gives_every_number_back(tmp_path_factory, name, rows):
    videos = []
    for prompt, bottom, share in rows:
        fields = {"video_results": share, "video_sim": share * bottom, "cnt_per_video": bottom}
        if name == "imaging_quality":
            fields, bottom = {"video_results": 100 * share}, 1
        path = f"{prompt}-0.mp4"
        videos.append(VideoResult(path=path, prompt=prompt, index=0, numerator=share * bottom,
                                  denominator=bottom, fields=fields))  # fmt: skip
    path = tmp_path_factory.mktemp("results") / "x_eval_results.json"
    result = DimensionResult(dimension=name, aggregate=pooled(videos), videos=tuple(videos))
    write_results(path, {name: result})
    (found,) = read_results(path).values()
    assert found.aggregate == result.aggregate and not found.remarks
    for own, other in zip(found.videos, videos, strict=True):
        assert (own.prompt, own.index) == (other.prompt, 0)
        assert own.fields == other.fields
        np.testing.assert_allclose(own.value, other.value, rtol=1e-12, atol=1e-12)


def tables(groups, rng):
    """Samples and scores of one cell, three prompts a group, two videos each."""
    samples, scores = [], []
    for names in groups:
        for p in range(3):
            for k in range(2):
                item = f"{names[0]}-{p}-{k}"
                samples.append({"item_id": item, "model": "m", "sampler": "s", "steps": 1,
                                "prompt_id": f"{names[0]}-{p}", "seed_index": k,
                                "task": "+".join(names)})  # fmt: skip
                for name in names:
                    bottom = int(rng.integers(1, 9))
                    top = bottom * rng.random()
                    details = json.dumps({"numerator": top, "denominator": bottom})
                    scores.append({"item_id": item, "metric": name, "value": top / bottom,
                                   "reason": None, "details": details})  # fmt: skip
    return pd.DataFrame(samples), pd.DataFrame(scores)


def values(measured):
    return {name: value_of(cells(found)["m", "s", 1].clusters) for name, found in measured.items()}


@settings(max_examples=5, deadline=None)
@given(st.sampled_from(sorted(EDITIONS)), st.integers(0, 2**32 - 1))
def test_totals_are_those_of_the_dimensions_whatever_the_order(name, seed):
    edition, rng = EDITIONS[name], np.random.default_rng(seed)
    samples, scores = tables(edition.groups, rng)
    found = values(measure(samples, scores, edition.dimensions, edition=edition))
    raw = np.array([found[dimension] for dimension in edition.constants])
    for total, value in edition.combine(raw).items():
        np.testing.assert_allclose(found[total], value, rtol=1e-9)
    mixed = [table.sample(frac=1, random_state=seed % 2**31) for table in (samples, scores)]
    again = values(measure(*mixed, edition.dimensions, edition=edition))
    np.testing.assert_allclose([again[n] for n in found], list(found.values()), rtol=1e-12)
    lost = scores.drop(scores.index[int(rng.integers(len(scores)))])
    gone = set(scores["metric"]) - set(lost["metric"])
    dimension = scores.loc[scores.index.difference(lost.index)[0], "metric"]
    parts = measure(samples, lost, edition.dimensions, edition=edition)
    enters = dimension in edition.constants
    assert not gone and bool(parts["total"].withheld) == enters


@given(st.sets(st.integers(0, 24)))
@settings(max_examples=30, deadline=None)
def test_the_first_five_static_videos_by_name_count(static):
    rows = [{"item_id": str(k), "model": "m", "sampler": "s", "steps": 1, "prompt_id": "a",
             "seed_index": k, "task": FLICKERING} for k in range(25)]  # fmt: skip
    scores = [{"item_id": str(k), "metric": FLICKERING, "value": 2.0**-k, "reason": None,
               "details": json.dumps({"static": k in static})} for k in range(25)]  # fmt: skip
    found = measure(pd.DataFrame(rows), pd.DataFrame(scores), [FLICKERING])[FLICKERING].rows
    kept = sorted(static, key=lambda k: f"{k}.mp4")[:5]
    assert found["numerator"].iloc[0] == sum(2.0**-k for k in kept)
    assert found["denominator"].iloc[0] == len(kept)
    assert found["n_missing"].iloc[0] == 5 - len(kept)
