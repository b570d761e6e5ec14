"""The viewer in a browser: filters, steps, views, keys and links, each against the tables."""

import io
import json
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_report import SMALL, Recipe, build

from rcm_reports import render
from rcm_reports.links import gallery_link

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), Recipe(num_prompts=18, seeds=2))


@pytest.fixture(scope="module")
def report(run):
    return render(run, run.run_dir / "report")


def test_no_number_of_the_throughput_table_is_broken(run, tmp_path, open_page):
    row = {
        "model": "rcm", "steps": 50, "evaluations": 100, "network_seconds": 52.733,
        "decode_seconds": 0.663, "encode_seconds": 3.108, "peak_megabytes": 21400.0,
        "frames_per_second": 1.52, "low": 1.51, "high": 1.53, "speedup": 44.4,
        "over_stock_teacher": 53.6, "published_frames_per_second": 0.72, "over_published": 2.1,
        "roofline_frames_per_second": 2.73, "share_of_roofline": 0.56, "deviation_network": 0.85,
        "deviation_decode": 0.75, "reasons": "",
        "kernels": "attention: cudnn, compile: blocks, decoder: triton, autotune: true",
    }  # fmt: skip
    made = replace(run, throughput=pd.DataFrame([row]))
    page = open_page(render(made, tmp_path / "report"))
    cells = page.locator(".rates tbody td")
    lines = "text => text.getClientRects().length"
    broken = [
        text
        for cell in cells.all()
        if cell.locator("bdi").evaluate(lines) > len((text := cell.inner_text()).split(" "))
    ]
    assert cells.count() == 15 and broken == []


def outcomes(run):
    """Right or wrong by (prompt, seed) and (model, steps)."""
    joined = run.samples.merge(run.scores[["item_id", "value"]], on="item_id")
    joined["cell"] = list(zip(joined["model"], joined["steps"], strict=True))
    return joined.pivot_table(index=["prompt_id", "seed_index"], columns="cell", values="value")


def rows_said(page):
    """The number of rows that fit, as the page says it."""
    return int(page.inner_text("#shown").split()[0])


def rows_shown(page):
    """Prompt and seed of the rows in the table, from their links."""
    links = page.eval_on_selector_all(
        "#table tbody tr", "rows => rows.map(row => row.querySelector('a').getAttribute('href'))"
    )
    views = [dict(parse_qsl(link[1:])) for link in links]
    return [(view["prompt"], int(view["seed"])) for view in views]


def shown_cells(page):
    """Captions of the viewer: model, steps and outcome."""
    return [text.split("\n") for text in page.locator("#cells figcaption").all_inner_texts()]


def images_are_there(page):
    there = "() => [...document.querySelectorAll('#cells img')].every(i => i.complete)"
    page.wait_for_function(there)


def address(page):
    page.wait_for_timeout(250)
    return dict(parse_qsl(page.evaluate("location.hash").lstrip("#")))


def test_filters_keep_what_the_table_says(run, report, open_page):
    page = open_page(report)
    table = outcomes(run)
    assert rows_said(page) == len(table) == 36
    page.select_option("[name=line]", label="rcm")
    page.select_option("[name=outcome]", "wrong")
    rcm = [cell for cell in table.columns if cell[0] == "rcm"]
    wrong = table[(table[rcm] == 0).any(axis=1)]
    assert 0 < len(wrong) < 36 and rows_said(page) == len(wrong)
    assert set(rows_shown(page)) == set(list(wrong.index)[:24])
    page.select_option("[name=outcome]", "lost")
    lost = table[(table[rcm] == 0).any(axis=1) & (table["teacher", 16] == 1)]
    assert rows_said(page) == len(lost)
    page.select_option("[name=outcome]", "right")
    assert rows_said(page) == int((table[rcm] == 1).any(axis=1).sum())
    page.click("text=Reset")
    assert rows_said(page) == 36 and address(page) == {}


def test_search_and_task_and_no_row_at_all(run, report, open_page):
    page = open_page(report)
    page.select_option("[name=task]", label="Counting")
    assert rows_said(page) == int((run.samples["task"] == "counting").sum() / 13)
    page.fill("[name=find]", "TWO circles")
    wanted = run.samples.query("task == 'counting'")["prompt"].str.contains("two circles")
    assert rows_said(page) == wanted.sum() / 13 > 0
    page.fill("[name=find]", "no such prompt")
    assert rows_said(page) == 0
    assert "No row fits these filters." in page.inner_text("#table")
    assert page.locator("#table .shot").count() == 0


def test_sorting_by_the_distance_to_the_teacher(run, report, open_page):
    page = open_page(report)
    table = outcomes(run)
    page.select_option("[name=line]", label="scm")
    page.select_option("[name=sort]", "worst")
    behind = table["teacher", 16] - table[[c for c in table.columns if c[0] == "scm"]].mean(axis=1)
    found = [behind[row] for row in rows_shown(page)]
    assert found == sorted(behind, reverse=True)[:24] and found[0] > found[-1]
    page.select_option("[name=sort]", "low")
    mean = table[[c for c in table.columns if c[0] == "scm"]].mean(axis=1)
    assert [mean[row] for row in rows_shown(page)] == sorted(mean)[:24]


def test_more_rows_on_demand(report, open_page):
    page = open_page(report)
    assert len(rows_shown(page)) == 24
    page.click("#more-rows")
    assert len(rows_shown(page)) == 36 and page.locator("#more-rows").is_hidden()
    assert page.evaluate("document.activeElement.className").startswith("shot")


def test_the_slider_swaps_the_image_in_place(run, report, open_page):
    page = open_page(report, gallery_link(model="rcm", mode="one", steps=1, prompt="p003", seed=1))
    page.evaluate("window.kept = document.querySelector('#cells img')")
    names = []
    for steps in (1, 2, 4):
        page.locator("[name=steps]").fill(str({1: 1, 2: 2, 4: 3}[steps]))
        page.wait_for_function("() => document.querySelector('#cells img').complete")
        assert page.evaluate("window.kept === document.querySelector('#cells img')")
        caption = shown_cells(page)
        assert len(caption) == 1 and f"rcm at {steps} step" in caption[0][0]
        names.append(page.get_attribute("#cells img", "src").removeprefix("media/"))
        row = run.samples.query(
            f"model == 'rcm' and steps == {steps} and prompt_id == 'p003' and seed_index == 1"
        ).iloc[0]
        stored = (run.run_dir / row["blob"]).read_bytes()
        assert (report.parent / "media" / names[-1]).read_bytes() == stored
    assert address(page)["steps"] == "4"
    page.locator("[name=steps]").fill("4")
    assert "rcm was not sampled at 16 steps" in page.inner_text("#notice")


def test_side_by_side_shows_the_teacher_first(run, report, open_page):
    page = open_page(report, gallery_link(steps=2, prompt="p005", seed=0))
    heads = [cell[0].replace("✓", "").replace("✗", "").strip() for cell in shown_cells(page)]
    assert heads == [
        *("teacher at 16 steps", "teacher at 2 steps"),
        *("rcm at 2 steps", "scm at 2 steps", "dmd2 at 2 steps"),
    ]
    table = outcomes(run)
    for head, cell in zip(heads, shown_cells(page), strict=True):
        model, _, steps, _ = head.split()
        right = table.loc[("p005", 0), [(model, int(steps))]].iloc[0] == 1
        assert ("right" in cell[1]) == right
        assert right or "expected circle>=1, found 0" in cell[1]


def test_boxes_lie_where_the_scorer_found_them(run, report, open_page):
    page = open_page(report, gallery_link(model="rcm", steps=1, prompt="p000", seed=0, mode="one"))
    row = run.samples.query(
        "model == 'rcm' and steps == 1 and prompt_id == 'p000' and seed_index == 0"
    ).iloc[0]
    details = run.scores.set_index("item_id").loc[row["item_id"], "details"]
    wanted = json.loads(details)["boxes"]
    found = page.eval_on_selector_all(
        "#cells rect.over",
        "all => all.map(r => ['x','y','width','height'].map(n => Number(r.getAttribute(n))))",
    )
    expected = [[b[0], b[1], b[2] - b[0], b[3] - b[1]] for b in wanted]
    assert [[round(v, 3) for v in box] for box in found] == [
        [round(v, 3) for v in box] for box in expected
    ]
    image, box = page.locator("#cells img").bounding_box(), page.locator("rect.over").first
    scale = image["width"] / 40
    at = box.bounding_box()
    assert at["x"] - image["x"] == pytest.approx(scale * expected[0][0], abs=2)
    assert at["y"] - image["y"] == pytest.approx(scale * expected[0][1], abs=2)
    assert expected[0] and wanted[0][5] in page.inner_text("#cells figcaption")
    page.uncheck("[name=boxes]")
    assert page.locator("#cells rect").count() == 0


def test_boxes_too_doubtful_to_count_are_counted_and_not_drawn(tmp_path, open_page):
    run = build(tmp_path, replace(SMALL, num_prompts=1, seeds=1))
    rules = {"geneval": {"settings": {"rules": {"threshold": 0.3}}}}
    protocol = {**run.manifest["protocol"], "scorers": rules}
    noted = [[5, 5, 20, 20, 1.0, "cup"], [0, 0, 9, 9, 0.02, "cat"], [0, 0, 9, 9, 0.3, "dog"]]
    scores = run.scores.assign(details=json.dumps({"boxes": noted, "correct": True}))
    made = replace(run, manifest={**run.manifest, "protocol": protocol}, scores=scores)
    page = open_page(render(made, tmp_path / "report"), gallery_link(steps=1, mode="one"))
    assert page.locator("#cells rect.over").count() == page.locator("#cells figure").count() > 0
    said = page.locator("#cells figcaption").first.inner_text()
    assert "found: cup 1.00; 2 more too doubtful to count" in said and "cat" not in said


def test_every_key_does_what_the_page_says(report, open_page):
    page = open_page(report, gallery_link(prompt="p002", seed=0))
    press = page.keyboard.press
    for key, expected in (("j", "p003"), ("j", "p004"), ("k", "p003")):
        press(key)
        assert address(page)["prompt"] == expected
    for key, expected in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1")):
        press(key)
        assert address(page)["steps"] == expected
    for key, mode in (("1", "one"), ("3", "difference"), ("2", "side")):
        press(key)
        assert address(page)["mode"] == mode
        assert page.is_checked(f"[name=mode][value={mode}]")
    press("m")
    assert address(page)["model"] == "teacher"
    press("m")
    assert address(page)["model"] == "rcm"
    press("b")
    assert not page.is_checked("[name=boxes]")
    press("/")
    assert page.evaluate("document.activeElement.name") == "find"
    press("j")
    assert page.input_value("[name=find]") == "j", "letters typed into a field are text"


def test_keys_can_be_turned_off(report, open_page):
    page = open_page(report, gallery_link(prompt="p002", seed=0))
    page.click(".keys summary")
    page.uncheck("#keys")
    page.focus("#stage")
    page.keyboard.press("j")
    assert address(page)["prompt"] == "p002"


def test_arrows_move_inside_the_table_and_enter_opens(report, open_page):
    page = open_page(report)
    page.focus("#table tbody tr:nth-child(2) a")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("teacher at 4 steps")
    page.keyboard.press("Enter")
    assert address(page) == {"prompt": "p002", "seed": "0"}
    assert page.locator("#table tr[aria-current]").count() == 1
    assert page.evaluate("document.activeElement.id") == "stage"


def test_a_link_opens_its_view_and_the_view_its_link(report, open_page):
    wanted = {
        **{"model": "rcm", "sampler": "consistency", "steps": "2", "task": "counting"},
        **{"outcome": "right", "find": "two", "sort": "worst", "prompt": "p002", "seed": "1"},
        "mode": "difference",
    }
    page = open_page(report, gallery_link(**wanted))
    assert page.evaluate("document.getElementById('stage').getBoundingClientRect().top") < 1000
    assert page.evaluate("scrollY") > 0
    assert page.input_value("[name=find]") == "two"
    assert page.input_value("[name=sort]") == "worst"
    assert page.is_checked("[name=mode][value=difference]")
    page.keyboard.press("2")
    assert address(page) == wanted | {"mode": "side"}
    page.evaluate("location.hash = 'model=dmd2&steps=4'")
    chosen = "() => document.querySelector('[name=line]').selectedOptions[0].text == 'dmd2'"
    page.wait_for_function(chosen)
    assert page.input_value("[name=find]") == ""
    assert [cell[0][-15:] for cell in shown_cells(page)][1].endswith("dmd2 at 4 steps")


def test_a_link_that_leads_nowhere_says_so(report, open_page):
    page = open_page(report, "#model=nobody&steps=3&colour=red&prompt=p001")
    said = page.inner_text("#notice")
    assert "model nobody is not among the samples" in said and "steps 3" in said
    assert "no view is named colour" in said
    assert address(page).get("model") == "nobody", "the address stays until the view is changed"


def test_an_anchor_of_the_page_is_no_view(report, open_page):
    page = open_page(report, "#tables")
    assert page.evaluate("location.hash") == "#tables"
    assert page.locator("#notice").is_hidden()


def test_strips_and_seeds_lead_to_their_sample(run, report, open_page):
    page = open_page(report)
    for place in ("#worst .shot >> nth=1", ".spread .shot >> nth=3"):
        view = dict(parse_qsl(page.get_attribute(place, "href")[1:]))
        page.click(place)
        assert address(page) == view
        text = run.samples.set_index("prompt_id")["prompt"][view["prompt"]].iloc[0]
        assert page.inner_text("#what bdi") == text
        assert f"seed {int(view['seed']) + 1}" in page.inner_text("#what")


def test_difference_is_the_difference(run, report, open_page):
    """Read from the screen: four times |student - teacher|, and black where they are equal."""
    link = gallery_link(model="rcm", steps=1, prompt="p004", seed=0, mode="difference")
    page = open_page(report, link)
    images_are_there(page)
    shot = page.locator("#cells figure").nth(1).locator(".media").screenshot()
    seen = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def stored(query):
        row = run.samples.query(f"{query} and prompt_id == 'p004' and seed_index == 0").iloc[0]
        return np.asarray(Image.open(run.run_dir / row["blob"]).convert("RGB")).astype(int)

    student = stored("model == 'rcm' and steps == 1")
    teacher = stored("model == 'teacher' and steps == 16")
    expected = np.minimum(4 * abs(student - teacher), 255)
    scale = seen.shape[0] / 40
    at = [round((i + 0.5) * scale) for i in range(1, 39)]
    assert abs(seen[np.ix_(at, at)] - expected[1:39, 1:39]).max() <= 4
    assert expected.max() > 100, "the samples must differ for this to show anything"


def test_scores_that_are_not_right_or_wrong_are_filtered_by_range(run, tmp_path, open_page):
    """A metric like VBench's: a number for each sample, no right and no wrong."""
    info = dict(run.manifest["metrics"])
    info["geneval.overall"] = {**info["geneval.overall"], "unit": "points"}
    values = [round(0.2 + 0.6 * (n * 7 % 100) / 100, 4) for n in range(len(run.scores))]
    scores = run.scores.assign(value=values, details="{}", reason="")
    numbers = replace(run, scores=scores, manifest={**run.manifest, "metrics": info})
    page = open_page(render(numbers, tmp_path))
    page.fill("[name=low]", "0.7")
    page.select_option("[name=line]", label="rcm")
    joined = numbers.samples.merge(scores[["item_id", "value"]], on="item_id")
    kept = joined.query("model == 'rcm' and value >= 0.7")
    assert rows_said(page) == len(kept[["prompt_id", "seed_index"]].drop_duplicates())
    assert address(page)["score"] == "0.7.."
    assert page.locator("[name=outcome] option[value=wrong]").is_hidden()


def test_every_number_is_one_click_from_its_samples(run, report, open_page):
    page = open_page(report)
    table = outcomes(run)
    for place in (".scores.main td .value a >> nth=4", ".scores.main td .difference a >> nth=3"):
        view = dict(parse_qsl(page.get_attribute(place, "href")[1:]))
        page.click(place)
        page.wait_for_function(
            "model => document.querySelector('[name=line]').selectedOptions[0].text == model",
            arg=view["model"],
        )
        assert page.locator("#viewer").bounding_box()["y"] < 1000
        own = table[view["model"], int(view["steps"])]
        lost = (own == 0) & (table["teacher", 16] == 1)
        assert rows_said(page) == (lost.sum() if view.get("outcome") == "lost" else len(own))
    assert view["outcome"] == "lost" and lost.any(), "the second number must be a difference"
