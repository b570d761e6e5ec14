"""The whole page in a browser: hostile text, no script, no media, screen readers, any width."""

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from evil_run import EVIL, NAMES, evil_run
from synthetic_report import Recipe, build
from synthetic_videos import with_videos

from rcm_reports import render
from rcm_reports.links import gallery_link

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), Recipe(num_prompts=12, seeds=2, missing=7))


@pytest.fixture(scope="module")
def report(run):
    return render(run, run.run_dir / "report")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A report of images and one of videos."""
    models = {"teacher": {8: (0.9, 0.9)}, "rcm": {2: (0.8, 0.8), 1: (0.6, 0.7)}}
    recipe = Recipe(models=models, reference=("teacher", 8), num_prompts=6, seeds=2, missing=1)
    run = build(tmp_path_factory.mktemp("images"), recipe)
    film = with_videos(build(tmp_path_factory.mktemp("videos"), replace(recipe, images=False)))
    pages = {"images": run, "videos": film}
    return {kind: render(each, each.run_dir / "report") for kind, each in pages.items()}


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    made = evil_run(tmp_path_factory.mktemp("evil"))
    return render(made, made.run_dir / "report")


def axe_faults(page):
    """Return the faults that axe-core finds: rule, impact and where."""
    package = pytest.importorskip(
        "axe_playwright_python", reason="no axe-core: pip install 'rcm-bench[browser]'"
    )
    source = Path(package.__file__).parent / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], each["impact"], [node["html"][:160] for node in each["nodes"]][:3])
        for each in found["violations"]
    ]


def test_hostile_text_is_only_text(evil, open_page):
    page = open_page(evil)
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    elements = page.evaluate("() => document.querySelectorAll('script').length")
    assert elements == 2
    for number in range(12):
        page.keyboard.press("j") if number else page.focus("#stage")
        page.wait_for_timeout(20)
    for mode in ("one", "difference", "side"):
        page.check(f"[name=mode][value={mode}]")
    page.click("#more-rows") if page.is_visible("#more-rows") else None
    text = page.inner_text("body")
    for wanted in (EVIL[0], EVIL[1], EVIL[3], "{{ 7*7 }}", "\u05d0\u05d1\u05d2"):
        assert wanted in text
    assert page.evaluate("() => document.querySelectorAll('[onerror],[onmouseover]').length") == 0
    assert page.evaluate("() => document.querySelectorAll('img[src=x]').length") == 0
    assert not set("\u202e\u2066\u200f") & set(text)
    assert "x" * 700 not in text and "(10,000 characters)" in text


@pytest.mark.parametrize("model", ["rcm", "scm", "dmd2"])
def test_hostile_names_can_be_linked_to(evil, open_page, model):
    page = open_page(evil, gallery_link(model=NAMES[model], steps=2, outcome="wrong", find="<"))
    assert page.locator("#notice").is_hidden()
    assert page.locator("#cells figure").count() == 2
    page.wait_for_timeout(250)
    view = dict(parse_qsl(page.evaluate("location.hash")[1:]))
    assert view["model"] == NAMES[model] and view["find"] == "<"


def test_a_hostile_address_is_only_text(report, open_page):
    page = open_page(
        report, "#find=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&mode=%3Cb%3E&%3Ci%3E=1"
    )
    assert page.locator("#notice b, #notice i").count() == 0
    assert "mode <b> is not" in page.inner_text("#notice")


def test_media_names_are_digests(evil, run, report):
    for page in (evil, report):
        names = [path.name for path in (page.parent / "media").iterdir()]
        assert names and all(len(n) == 36 and set(n[:32]) <= set("0123456789abcdef") for n in names)


def test_without_script_all_numbers_and_thumbnails_are_there(report, open_page):
    page = open_page(report, java_script_enabled=False)
    assert page.locator("#samples table.grid img").count() > 100
    assert page.locator("svg[role=img]").count() >= 5
    assert page.locator("#viewer").is_hidden() and page.locator("#static").is_visible()


def test_the_page_alone_shows_its_thumbnails_and_says_what_it_lacks(run, tmp_path, chromium):
    """As it is when the page is mailed without the folder beside it."""
    page = render(run, tmp_path)
    for path in (tmp_path / "media").iterdir():
        path.unlink()
    tab = chromium.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector("#alone:not([hidden])")
    assert "is not beside this page" in tab.inner_text("#alone")
    tab.wait_for_function(
        "() => [...document.querySelectorAll('#cells img')]"
        ".every(i => i.complete && i.naturalWidth && i.src.startsWith('data:'))"
    )
    assert tab.locator("#cells img").count() >= 10
    tab.close()


def test_missing_samples_are_marked(run, report, open_page):
    gone = run.samples[run.samples["status"] != "ok"].iloc[0]
    link = gallery_link(
        model=gone["model"], steps=gone["steps"], prompt=gone["prompt_id"], seed=gone["seed_index"]
    )
    page = open_page(report, link)
    last = page.locator("#cells figure").last
    assert "sample missing" in last.inner_text() and last.locator(".hole").count() == 1


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (390, "dark"), (820, "light"), (1440, "dark")]
)
@pytest.mark.parametrize("kind", ["images", "videos"])
def test_no_fault_for_screen_readers(small, open_page, kind, width, scheme):
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    link = gallery_link(steps=2, prompt="p001", seed=0, frame=5 if kind == "videos" else None)
    page = open_page(small[kind], link, **options)
    page.click(".keys summary")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    faults = axe_faults(page)
    assert not [fault for fault in faults if fault[1] in ("serious", "critical")], faults
    _keep(page, f"{kind}-{width}-{scheme}")


@pytest.mark.parametrize("width", [390, 1440])
def test_the_mark_of_a_model_stands_beside_its_name(small, open_page, width):
    page = open_page(small["images"], viewport={"width": width, "height": 900})
    page.locator("details:has(table.parts)").evaluate_all("all => all.forEach(d => d.open = true)")
    places = page.eval_on_selector_all(
        ".scores tbody th",
        """all => all.map(th => ['.dot', 'bdi', ''].map(name =>
             (name ? th.querySelector(name) : th).getBoundingClientRect()))
           .map(([dot, text, cell]) => [dot.left - cell.left, text.left - dot.right,
             Math.abs(dot.top + dot.bottom - text.top - text.bottom)])""",
    )
    assert len(places) > 6
    assert all(inside >= 0 and 0 < gap < 20 and off < 20 for inside, gap, off in places), places


def test_an_empty_report_opens(run, tmp_path, open_page):
    empty = replace(run, samples=run.samples.head(0), scores=run.scores.head(0))
    page = open_page(render(empty, tmp_path))
    assert "This run holds no samples." in page.inner_text("#samples")


def _keep(page, name):
    """Keep a screenshot to look at where $SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.evaluate("() => document.getElementById('samples').scrollIntoView()")
        page.screenshot(path=Path(folder) / f"{name}.png")
