import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from urllib.parse import parse_qsl

import pandas as pd
import pytest
from parsed_page import Page
from PIL import Image
from synthetic_report import MODELS, SMALL, Recipe, build

from rcm_reports import render
from rcm_reports.page import page_text
from rcm_reports.score_tables import benchmark_sections
from rcm_reports.study import build_study

PARTS = ("verdict", "quality", "tables", "tradeoffs", "samples", "worst", "receipt")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), SMALL)


@pytest.fixture(scope="module")
def page(run):
    return Page(page_text(run))


@pytest.fixture
def imageless(tmp_path):
    """Build a run without pictures from changes to the small recipe."""
    return lambda **changes: build(tmp_path, replace(SMALL, images=False, **changes))


def test_all_parts_are_there_in_order(page):
    sections = [a["id"] for a in page.all("section") if a.get("id") in PARTS]
    assert sections == list(PARTS)
    assert not page.all("section", id="failures"), "a run without failures has no such part"
    links = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    targets = {link for link in links if "=" not in link}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert targets <= set(ids) and len(ids) == len(set(ids))


def test_elements_are_closed_and_ids_of_charts_resolve(page):
    assert page.open == []
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    charts = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(charts) >= 5
    for chart in charts:
        assert set(chart["aria-labelledby"].split()) <= ids


def test_tables_and_charts_are_there_without_script(page):
    without = Page(re.sub(r"<script.*?</script>", "", page.source, flags=re.S))
    assert len(without.all("table")) >= 5
    assert without.all("polyline") and without.all("img")
    heads = without.all("th")
    assert heads and all(head.get("scope") for head in heads)
    assert len(without.all("caption")) == len(without.all("table"))


def test_every_measured_headline_is_in_its_table(run, page):
    overall = run.measurements.query("benchmark == 'geneval' and metric == 'overall'")
    for value in overall["value"]:
        assert f">{value:.2f}" in page.source


def test_a_tie_is_marked_and_a_regression_too(run, page):
    tied = run.paired.query("benchmark == 'geneval' and metric == 'overall'")["tied"]
    assert tied.any() and not tied.all(), "the recipe must give both"
    assert "worse than the reference" in page.source
    assert page.source.count('<td class="tie">') >= tied.sum()


def test_tasks_are_called_as_in_the_tables(run):
    assert "<small>Single object</small>" in page_text(run)
    other = replace(run, samples=run.samples.assign(task="no_metric"))
    assert "<small>no_metric</small>" in page_text(other)


def test_every_image_has_a_text_and_its_data_inside(page):
    images = page.all("img")
    assert len(images) > 12 * 13
    assert all(a["alt"] and a["src"].startswith("data:image/webp;base64,") for a in images)
    raw = base64.b64decode(images[0]["src"].split(",", 1)[1])
    assert raw[:4] == b"RIFF"


def test_thumbnails_are_lossless(run, page):
    first = run.samples.iloc[0]
    stored = Image.open(run.run_dir / first["blob"]).convert("RGB")
    shown = page.all("img")[0]["src"].split(",", 1)[1]
    path = run.run_dir / "shown.webp"
    path.write_bytes(base64.b64decode(shown))
    assert list(Image.open(path).convert("RGB").tobytes()) == list(stored.tobytes())


def test_policy_allows_exactly_this_style_and_this_script(page):
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    start = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src"
    assert policy.startswith(start)
    assert "unsafe" not in policy and "*" not in policy and "blob:" not in policy
    styles = [data for tag, data in page.texts if tag == "style"]
    scripts = re.findall(r"<script>(.*?)</script>", page.source, flags=re.S)
    for kind, bodies in (("style-src", styles), ("script-src", scripts)):
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert len(scripts[0].encode()) < 32_000
    assert not [a for _, a in page.elements if "style" in a or any(n.startswith("on") for n in a)]


def test_nothing_is_fetched(page):
    for name, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "data", "action", "srcset"):
            if key in attributes and key != "data-k":
                assert attributes[key].startswith(("data:", "#")), (name, attributes)
    assert "http://" not in page.source.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.source and "@import" not in page.source


def test_data_of_the_script_match_the_page(page):
    body = re.search(r'<script type="application/json" id="shots">(.*?)</script>', page.source)
    data = json.loads(body.group(1))
    shown = [a for a in page.all("a") if "data-k" in a]
    assert len(data["samples"]) == 312 and len(shown) > 12 * 13
    for a in shown:
        column, prompt, seed, *_ = data["samples"][int(a["data-k"])]
        view = dict(parse_qsl(a["href"][1:]))
        expected = [data["columns"][column][key] for key in ("model", "sampler", "steps")]
        assert [view["model"], view["sampler"], int(view["steps"])] == expected
        assert (view["prompt"], int(view["seed"])) == (data["prompts"][prompt][0], seed)
    reference = data["columns"][data["reference"]]
    assert (reference["model"], reference["steps"]) == ("teacher", 16)


def test_same_input_same_bytes(tmp_path, run):
    first = render(run, tmp_path / "one")
    second = render(run, tmp_path / "two" / "page.html")
    assert first.name == "index.html" and second.name == "page.html"
    assert first.read_bytes() == second.read_bytes()
    assert str(run.run_dir) not in first.read_text(encoding="utf-8")
    assert sorted(path.name for path in first.parent.iterdir()) == ["index.html", "media"]
    names = [sorted(each.name for each in (p.parent / "media").iterdir()) for p in (first, second)]
    assert names[0] == names[1] and len(names[0]) > 1


def test_order_of_rows_does_not_change_the_numbers(run):
    shuffled = replace(
        run,
        measurements=run.measurements.sample(frac=1, random_state=1),
        paired=run.paired.sample(frac=1, random_state=2),
        scores=run.scores.sample(frac=1, random_state=3),
    )
    assert page_text(shuffled) == page_text(run)


def test_failures_and_missing_samples_are_said(tmp_path):
    run = build(tmp_path, Recipe(num_prompts=12, seeds=2, missing=7))
    page = Page(page_text(run))
    assert page.all("section", id="failures")
    assert "This run is not complete: 7 of 312" in page.text.replace("\xa0", " ")
    assert "7 of 7 failures" in page.text
    assert "RuntimeError: non-finite values" in page.text


def test_files_that_are_not_there_are_shown_as_missing_and_counted(imageless):
    page = Page(page_text(imageless()))
    assert not page.all("img")
    assert "156 samples in this grid cannot be shown" in page.text.replace("\xa0", " ")
    assert "sample missing" in page.all("span", class_="hole")[0]["aria-label"]


def test_blobs_outside_the_run_are_not_read(run, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "secret.png")
    samples = run.samples.assign(blob=str(tmp_path / "secret.png"))
    climbing = "../" * 12 + str(tmp_path / "secret.png").lstrip("/")
    for blobs in (samples, run.samples.assign(blob=climbing)):
        assert not Page(page_text(replace(run, samples=blobs))).all("img")


def test_broken_images_and_videos_are_said(run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    broken = replace(run, run_dir=tmp_path, samples=run.samples.assign(blob="broken.png"))
    assert "cannot be shown" in Page(page_text(broken)).text
    (tmp_path / "broken.mp4").write_bytes(b"<html>")
    for name in ("broken.mp4", "blobs/aa/gone.mp4"):
        video = replace(run, run_dir=tmp_path, samples=run.samples.assign(blob=name))
        page = Page(page_text(video))
        assert "cannot be shown" in page.text and not page.all("img")


def test_a_run_that_timed_and_scored_nothing_leads_with_its_speed(run):
    rate = {"model": "rcm", "steps": 1, "kernels": "", "reasons": "", "low": 66.0, "high": 68.0}
    timed = replace(
        run,
        measurements=run.measurements.head(0),
        paired=run.paired.head(0),
        throughput=pd.DataFrame([rate | {"frames_per_second": 67.0}]),
    )
    lead = Page(page_text(timed)).text.partition("Quality against steps")[0]
    assert "At 1 step rcm makes 67.00 [66.00,\N{NO-BREAK SPACE}68.00] frames/s." in lead
    assert "this run says nothing of quality" in lead and "No verdict" not in lead


def test_empty_tables_give_a_page(run):
    nothing = replace(
        run,
        manifest={},
        measurements=pd.DataFrame(),
        paired=pd.DataFrame(),
        samples=pd.DataFrame(),
        scores=pd.DataFrame(),
        failures=pd.DataFrame(),
        timings=pd.DataFrame(),
    )
    page = Page(page_text(nothing))
    assert "No verdict" in page.text and "The table of measurements is empty." in page.text
    heads_only = replace(
        run,
        measurements=run.measurements.head(0),
        paired=run.paired.head(0),
        samples=run.samples.head(0),
        scores=run.scores.head(0),
        timings=run.timings.head(0),
    )
    assert "No verdict" in Page(page_text(heads_only)).text


def test_a_table_without_a_column_is_refused_by_name(run):
    with pytest.raises(ValueError, match="measurements must have column.*value"):
        replace(run, measurements=run.measurements.drop(columns=["value"]))


def test_no_interval_is_said_and_never_zero(imageless):
    run = imageless(intervals=False)
    page = Page(page_text(run))
    assert "no interval" in page.text
    assert "nan" not in page.source.lower().replace("finance", "")
    assert not page.all("line", class_="whisker")


def test_seeds_that_nobody_recorded_are_not_called_the_same(run):
    assert "Samples: same prompt, same seed" in Page(page_text(run)).text
    protocol = {**run.manifest["protocol"], "seeds": "not recorded"}
    brought = replace(run, manifest={**run.manifest, "protocol": protocol})
    text = Page(page_text(brought)).text
    assert "Samples: same prompt" in text and "same seed" not in text


def test_a_second_headline_stands_first_among_the_parts(run):
    """VBench's dynamic degree beside its Total: never behind what has to be scrolled to."""
    metrics = {**run.manifest["metrics"]}
    metrics["geneval.position"] = {**metrics["geneval.position"], "headline": True}
    sections = benchmark_sections(
        build_study(replace(run, manifest={**run.manifest, "metrics": metrics}))
    )
    (geneval,) = [section for section in sections if section.title == "GenEval"]
    assert geneval.parts.columns[0] == "Position"
    (usual,) = [s for s in benchmark_sections(build_study(run)) if s.title == "GenEval"]
    assert usual.parts.columns[0] != "Position"


def test_worst_prompts_by_a_score_are_not_called_right(run):
    scores = run.scores.assign(value=run.scores["value"] * 0.8 + 0.1)
    assert "right: teacher" in Page(page_text(run)).text
    text = Page(page_text(replace(run, scores=scores))).text
    assert "mean score: teacher" in text and "right: teacher" not in text


def test_one_model_and_no_teacher(imageless):
    alone = Page(page_text(imageless(models={"teacher": MODELS["teacher"]})))
    assert "Only teacher was measured" in alone.text
    orphan = Page(page_text(imageless(models={"rcm": MODELS["rcm"]}, reference=None)))
    assert "No teacher to compare with" in orphan.text
    single = Page(page_text(imageless(models={"rcm": {4: (0.9, 0.8)}}, reference=None)))
    assert single.all("svg") and "No teacher" in single.text


def test_many_models_have_lines_of_their_own(imageless):
    models = {"teacher": MODELS["teacher"], **{f"m{i}": {2: (0.8, 0.8)} for i in range(9)}}
    page = Page(page_text(imageless(models=models)))
    keys = re.findall(r'<svg class="key.*?</svg>', page.source)
    assert len(set(keys)) == len(models)


def test_samplers_tell_lines_of_one_model_apart(run):
    def twice(frame: pd.DataFrame) -> pd.DataFrame:
        other = frame[frame["model"] == "rcm"].assign(sampler="heun")
        return pd.concat([frame, other], ignore_index=True)

    page = Page(
        page_text(replace(run, measurements=twice(run.measurements), paired=twice(run.paired)))
    )
    assert "rcm (heun)" in page.text and "rcm (consistency)" in page.text


def test_large_images_are_made_small(tmp_path):
    models = {"teacher": {4: (0.9, 0.9)}, "rcm": {1: (0.8, 0.8)}}
    run = build(
        tmp_path, Recipe(models=models, reference=("teacher", 4), num_prompts=2, seeds=1, side=400)
    )
    page = Page(page_text(run))
    assert page.all("img") and all(len(a["src"]) < 12_000 for a in page.all("img"))
    assert not [a for a in page.all("img") if "pixel" in a.get("class", "")]


def test_import_is_free_of_torch_and_the_harness():
    code = "import sys, rcm_reports; print([m for m in ('torch', 'rcm_bench') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
