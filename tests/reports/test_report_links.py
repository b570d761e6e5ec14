"""Every number of the page leads to its samples, by script and without."""

from dataclasses import replace
from urllib.parse import parse_qsl, unquote

import numpy as np
import pytest
from parsed_page import Page
from synthetic_report import SMALL, build

from rcm_reports.links import gallery_link, targets
from rcm_reports.page import page_text

KEYS = (
    *("model", "sampler", "steps", "task", "outcome", "find"),
    *("sort", "prompt", "seed", "mode", "frame"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), replace(SMALL, images=False))


@pytest.fixture(scope="module")
def page(run):
    return Page(page_text(run))


def test_a_link_spells_its_keys_in_order_and_leaves_out_the_empty():
    assert gallery_link(steps=2, model="rcm", outcome="lost") == "#model=rcm&steps=2&outcome=lost"
    assert gallery_link() == "#"
    assert gallery_link(seed=0, frame=0) == "#seed=0&frame=0"
    values = {key: (1 if key in ("steps", "seed", "frame") else "x") for key in KEYS}
    shuffled = dict(reversed(values.items()))
    assert [pair.split("=")[0] for pair in gallery_link(**shuffled)[1:].split("&")] == list(KEYS)


def test_any_name_comes_back_and_none_leaves_its_place():
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for _ in range(200):
        points = rng.integers(1, 0x2FFF, 12)
        name = "".join(map(chr, points)) + "&steps=9#\"'<%+ \u202e"
        link = gallery_link(model=name, steps=2)
        assert dict(parse_qsl(link[1:])) == {"model": name, "steps": "2"}
        assert link.isascii() and not set(link[1:]) & set("#\"'<> ")


def test_lone_surrogates_stay_apart():
    assert gallery_link(model="\ud800") != gallery_link(model="\ud801")


def test_targets_are_given_once():
    assert targets(["#a=1", "#b=2", "#a=1", "#"]) == ["a=1", "b=2"]


def test_every_value_and_every_comparable_difference_has_a_link(page):
    cells = page.source.count('<span class="value">')
    linked = page.source.count('<span class="value"><a href="#model=')
    times = 13
    assert linked == cells - times > 100
    teacher = {"model": "teacher", "sampler": "euler", "steps": "16"}
    found = [dict(parse_qsl(a["href"][1:])) for a in page.all("a") if "model=" in a["href"]]
    assert teacher in found and teacher | {"task": "counting"} in found
    assert not [each for each in found if each.get("outcome") and each["model"] == "teacher"
                and each["steps"] == "16"]  # fmt: skip
    rcm = {"model": "rcm", "sampler": "consistency", "steps": "2"}
    assert rcm | {"outcome": "lost"} in found
    assert rcm | {"task": "position", "outcome": "lost"} in found


def test_links_land_in_the_gallery_without_a_script(page):
    views = {a["href"][1:] for a in page.all("a") if "model=" in a["href"]}
    links = {view for view in views if "&prompt=" not in view}  # those are single samples
    landings = [a["id"] for a in page.all("i", class_="target")]
    assert sorted(links) == sorted(landings)
    start, end = (page.source.index(f'<section id="{name}"') for name in ("samples", "worst"))
    assert all(start < page.source.index(f'id="{each.replace("&", "&amp;")}"') < end
               for each in landings)  # fmt: skip


def test_hostile_names_are_links_too(run):
    name = "a\" onclick='x' &steps=1"

    def renamed(frame):
        return frame.assign(model=frame["model"].replace("rcm", name))

    changed = replace(run, measurements=renamed(run.measurements), paired=renamed(run.paired),
                      samples=renamed(run.samples), timings=renamed(run.timings))  # fmt: skip
    page = Page(page_text(changed))
    links = [a["href"] for a in page.all("a") if "onclick" in unquote(a["href"])]
    assert links and all(dict(parse_qsl(link[1:]))["model"] == name for link in links)
    assert not [a for _, a in page.elements if "onclick" in a]


def test_what_could_not_be_tested_is_said_and_is_no_tie(run):
    changed = replace(run, paired=run.paired.assign(tied=None))
    source = page_text(changed)
    assert "too few prompts to tell" in source
    assert '<td class="untestable">' in source and '<td class="tie">' not in source
