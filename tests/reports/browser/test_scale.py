"""How large a report may be: time until the page is ready, memory of its process, time to build.

``SCALE_FIGURES=FILE`` adds what was measured to a CSV file.
"""

import csv
import os
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_report import Recipe, build
from synthetic_videos import with_linked_videos

from rcm_reports import render, write_plots, write_tables

pytestmark = pytest.mark.browser
MODELS = {
    "teacher": {16: (0.95, 0.97), 4: (0.72, 0.9)},
    "rcm": {4: (0.92, 0.84), 2: (0.9, 0.8), 1: (0.84, 0.7)},
}
READY_SECONDS = 2.0
MEGABYTES = 500


def videos(folder, prompts, seeds, *, count=81, fps=16.0, size=(832, 480)):
    """Build a run of 5 videos for each prompt and seed; 81 frames of 832x480 are Wan2.1's."""
    recipe = Recipe(models=MODELS, num_prompts=prompts, seeds=seeds, images=False)
    return with_linked_videos(build(folder, recipe), 8, count, fps, size)


def built(run, folder):
    """Return the page, and the processor seconds that page, tables and plots take on one core."""
    start = time.process_time()
    page = render(run, folder / "report")
    write_tables(run, folder / "tables")
    write_plots(run, folder / "plots")
    return page, time.process_time() - start


def peak_megabytes(browser):
    """The largest resident set so far of any renderer, the page's own among them, in MB."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    peaks = []
    for pid in [each["id"] for each in processes if each["type"] == "renderer"]:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1000)
    return max(peaks)


def looked_through(page, rows):
    """Go through rows, then play; return frames shown in a second, and how far cells were apart."""
    page.focus("#stage")
    for _ in range(rows):
        page.keyboard.press("j")
        page.wait_for_timeout(50)
    page.wait_for_function(
        "() => [...document.querySelectorAll('#cells video')]"
        ".every(v => v.readyState > 1 && !v.seeking)"
    )
    page.keyboard.press(" ")
    page.wait_for_function("() => Number(document.getElementById('frame').value) > 3")
    first, start = int(page.input_value("#frame")), time.perf_counter()
    apart = 0
    for _ in range(20):
        page.wait_for_timeout(100)
        frames = page.eval_on_selector_all(
            "#cells video", "all => all.map(v => Math.floor(v.currentTime * 16 + 1e-6))"
        )
        apart = max(apart, max(frames) - min(frames))
    shown = int(page.input_value("#frame")) - first
    page.keyboard.press(" ")
    return shown / (time.perf_counter() - start), apart


def measured(what, run, folder, open_page, chromium, rows):
    page_path, seconds = built(run, folder)
    page = open_page(page_path)
    ready = int(page.get_attribute("html", "data-ready")) / 1000
    rate, apart = looked_through(page, rows)
    figures = {
        "samples": len(run.samples),
        "build_cpu_seconds": round(seconds, 1),
        "page_megabytes": round(page_path.stat().st_size / 1e6, 2),
        "ready_seconds": round(ready, 2),
        "peak_megabytes": round(peak_megabytes(chromium)),
        "frames_per_second": round(rate, 1),
        "frames_apart": apart,
    }
    note(what, figures)
    return page, figures


def note(what, figures):
    print(what, figures)
    path = os.environ.get("SCALE_FIGURES")
    if path:
        new = not Path(path).exists()
        with Path(path).open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["report", "figure", "value"])
            writer.writerows([what, key, value] for key, value in figures.items())


def test_hundreds_of_videos(tmp_path, open_page, chromium):
    run = videos(tmp_path, 30, 2, size=(416, 240))
    page, figures = measured("300 videos", run, tmp_path, open_page, chromium, 8)
    assert figures["build_cpu_seconds"] < 20 and figures["ready_seconds"] < READY_SECONDS
    assert figures["peak_megabytes"] < MEGABYTES
    assert page.locator("video").count() == 5, "only what is looked at is loaded"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_thousand_videos(tmp_path, open_page, chromium):
    run = videos(tmp_path, 200, 5)
    assert len(run.samples) == 5000
    page, figures = measured("5000 videos", run, tmp_path, open_page, chromium, 60)
    assert figures["build_cpu_seconds"] < 60 and figures["ready_seconds"] < READY_SECONDS
    assert figures["peak_megabytes"] < MEGABYTES and figures["frames_apart"] <= 1
    assert "The viewer holds all 5,000\xa0samples." in page.text_content("#samples")
    assert len(list((tmp_path / "report" / "media").iterdir())) == 5000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_samples(tmp_path, open_page, chromium):
    base = build(tmp_path, Recipe(num_prompts=96, seeds=4))
    run = repeated(base, 21)
    assert len(run.samples) > 100_000
    page_path, seconds = built(run, tmp_path)
    page = open_page(page_path)
    ready = int(page.get_attribute("html", "data-ready")) / 1000
    figures = {
        "samples": len(run.samples),
        "build_cpu_seconds": round(seconds, 1),
        "page_megabytes": round(page_path.stat().st_size / 1e6, 2),
        "ready_seconds": round(ready, 2),
        "peak_megabytes": round(peak_megabytes(chromium)),
    }
    note("100000 images", figures)
    assert seconds < 60 and ready < READY_SECONDS and figures["peak_megabytes"] < MEGABYTES
    said = page.inner_text("#samples").replace("\xa0", " ")
    held = int(said.split("The viewer holds ")[1].split()[0].replace(",", ""))
    assert 10_000 < held <= 13_000 and f"of {len(run.samples):,} samples" in said


def repeated(run, times):
    """Return a run with as many times the prompts, which share the files."""
    samples, scores = [], []
    for turn in range(times):
        ids = run.samples["item_id"] + f"-{turn}"
        samples.append(
            run.samples.assign(
                item_id=ids,
                prompt_id=run.samples["prompt_id"] + f"-{turn}",
                prompt=run.samples["prompt"] + f", take {turn}",
            )
        )
        scores.append(run.scores.assign(item_id=run.scores["item_id"] + f"-{turn}"))
    joined = {"samples": samples, "scores": scores}
    return replace(
        run, **{name: pd.concat(all_, ignore_index=True) for name, all_ in joined.items()}
    )
