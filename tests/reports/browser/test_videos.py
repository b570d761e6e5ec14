"""Videos in the browser: one clock, one frame in every cell, read back from time and screen."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from synthetic_report import Recipe, build
from synthetic_videos import FPS, FRAMES, clip, number_of, with_videos

from rcm_reports import render
from rcm_reports.links import gallery_link

pytestmark = pytest.mark.browser
MODELS = {"teacher": {8: (0.9, 0.9), 2: (0.5, 0.7)}, "rcm": {2: (0.8, 0.8)}, "scm": {2: (0.7, 0.8)}}
VIEW = gallery_link(steps=2, prompt="p001", seed=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = Recipe(models=MODELS, reference=("teacher", 8), num_prompts=6, seeds=1, images=False)
    return with_videos(build(tmp_path_factory.mktemp("videos"), recipe))


@pytest.fixture(scope="module")
def report(run):
    return render(run, run.run_dir / "report")


def frames_by_time(page):
    return page.eval_on_selector_all(
        "#cells video", f"all => all.map(v => Math.floor(v.currentTime * {FPS} + 1e-6))"
    )


def frames_on_screen(page):
    shots = [each.screenshot() for each in page.locator("#cells .media").all()]
    return [number_of(np.asarray(Image.open(io.BytesIO(s)).convert("RGB"))) for s in shots]


def largest(element):
    """The largest value on the screen, without the edge."""
    picture = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return np.asarray(picture)[6:-6, 6:-6].max()


def ready(page, frame):
    """Wait until no video is on its way and the page says this frame."""
    page.wait_for_function(
        "frame => [...document.querySelectorAll('#cells video')]"
        ".every(v => !v.seeking && v.readyState > 1)"
        " && document.getElementById('frame').value == frame",
        arg=str(frame),
    )
    page.wait_for_timeout(100)


def test_nothing_plays_by_itself(report, open_page):
    page = open_page(report, VIEW)
    ready(page, 0)
    page.wait_for_timeout(400)
    assert frames_by_time(page) == [0] * 4
    assert page.eval_on_selector_all("video", "all => all.every(v => v.paused && !v.autoplay)")


@pytest.mark.parametrize("frame", [0, 1, 7, 16, FRAMES - 1])
def test_all_cells_show_the_frame_that_is_asked_for(report, open_page, frame):
    page = open_page(report, f"{VIEW}&frame={frame}")
    ready(page, frame)
    assert frames_by_time(page) == [frame] * 4
    page.locator("[name=boxes]").uncheck()
    assert frames_on_screen(page) == [frame] * 4
    assert page.inner_text("#frame-text") == f"frame {frame + 1} of {FRAMES}"


def test_stepping_and_scrubbing_move_all_by_frames(report, open_page):
    page = open_page(report, VIEW)
    ready(page, 0)
    page.keyboard.press(".")
    ready(page, 1)
    page.keyboard.press(".")
    ready(page, 2)
    page.keyboard.press(",")
    ready(page, 1)
    assert frames_by_time(page) == [1] * 4
    page.click("#forth")
    ready(page, 2)
    page.locator("#frame").fill("15")
    ready(page, 15)
    assert frames_by_time(page) == [15] * 4
    page.locator("[name=boxes]").uncheck()
    assert frames_on_screen(page) == [15] * 4
    page.wait_for_function("() => location.hash.endsWith('frame=15')")


def test_playing_stays_in_step_and_pausing_stops_on_one_frame(report, open_page):
    page = open_page(report, VIEW)
    ready(page, 0)
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('frame').value > 2")
    assert page.inner_text("#play") == "Pause"
    seen = [frames_by_time(page) for _ in range(60) if not page.wait_for_timeout(15)]
    apart = [max(frames) - min(frames) for frames in seen if FRAMES - 1 not in frames]
    assert len(apart) > 20 and max(apart) <= 1, seen
    assert max(map(max, seen)) > min(map(min, seen)), "it must have moved"
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('play').textContent == 'Play'")
    ready(page, page.input_value("#frame"))
    stopped = frames_by_time(page)
    assert len(set(stopped)) == 1 and stopped[0] == int(page.input_value("#frame"))
    page.locator("[name=boxes]").uncheck()
    assert frames_on_screen(page) == stopped


def test_the_last_frame_leads_to_the_first_unless_motion_is_unwanted(report, open_page):
    page = open_page(report, f"{VIEW}&frame={FRAMES - 4}")
    ready(page, FRAMES - 4)
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('frame').value < 4")
    calm = open_page(report, f"{VIEW}&frame={FRAMES - 4}", reduced_motion="reduce")
    ready(calm, FRAMES - 4)
    calm.keyboard.press(" ")
    calm.wait_for_function("() => document.getElementById('play').textContent == 'Play'")
    ready(calm, FRAMES - 1)
    assert frames_by_time(calm) == [FRAMES - 1] * 4


def test_a_new_row_keeps_the_frame(report, open_page):
    page = open_page(report, f"{VIEW}&frame=9")
    ready(page, 9)
    page.keyboard.press("j")
    page.wait_for_function("() => location.hash.includes('prompt=p002')")
    ready(page, 9)
    assert frames_by_time(page) == [9] * 4


def test_frames_are_counted_by_each_files_own_rate(run, tmp_path, open_page):
    """No columns: rates come from the files; one model has half the frame rate and frames."""
    samples = run.samples.drop(columns=["fps", "frames"]).copy()
    path = run.run_dir / "blobs" / "vv" / "slow.mp4"
    path.write_bytes(clip(3, count=12, fps=FPS / 2))
    samples.loc[samples["model"] == "scm", "blob"] = "blobs/vv/slow.mp4"
    page = open_page(render(replace(run, samples=samples), tmp_path), f"{VIEW}&frame=10")
    ready(page, 10)
    page.locator("[name=boxes]").uncheck()
    assert frames_on_screen(page) == [10] * 4
    page.locator("#frame").fill("20")
    ready(page, 20)
    assert frames_on_screen(page) == [20, 20, 20, 11], "the short one waits at its last frame"


def test_difference_of_equal_videos_is_black(run, tmp_path, open_page):
    same = replace(run, samples=run.samples.assign(blob="blobs/vv/0.mp4"))
    page = open_page(render(same, tmp_path), f"{VIEW}&mode=difference&frame=6")
    ready(page, 6)
    assert largest(page.locator("#cells .differs .media").first) <= 8
    other = open_page(render(run, tmp_path / "b"), f"{VIEW}&mode=difference&frame=6")
    ready(other, 6)
    assert largest(other.locator("#cells .differs .media").first) > 100
