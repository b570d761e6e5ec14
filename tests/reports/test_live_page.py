"""The page of a run that goes on: what it says, that it fetches nothing, that text stays text."""

from dataclasses import replace

from hostile_run import COMMAND, LONG, SCRIPT, TURNED
from parsed_page import Page

from rcm_reports.live import LiveCell, LiveState, render_live

STATE = LiveState(
    suite="quickstart",
    stage="Sampling",
    done=1000,
    total=1624,
    unit="samples",
    rate=12.34,
    left=90.0,
    cells=[LiveCell("teacher", 16, 800, 800, 0), LiveCell("rcm", 2, 824, 198, 2)],
    failures={"sample error: RuntimeError: no": 2},
    at="2026-11-24 06:00:00 UTC",
    stopped="",
    command="python -m rcm_bench run quickstart --out x",
)


def shown(state, folder):
    path = render_live(state, folder)
    assert [each.name for each in folder.iterdir()] == ["index.html"]
    return Page(path.read_text(encoding="utf-8"))


def test_it_says_progress_rate_time_left_and_failures(tmp_path):
    page = shown(STATE, tmp_path)
    text = page.text.replace("\xa0", " ")
    assert "1,000 of 1,624 samples, 12.3 samples per second, about 90.0 s left" in text
    assert "198 of 824" in text and "2 \u00d7 sample error: RuntimeError: no" in text
    assert "As of 2026-11-24 06:00:00 UTC." in text
    assert "If that time is more than a minute ago, the run has stopped" in text
    assert page.all("progress", class_="bar")[0]["value"] == "1000"
    assert all(a.get("aria-label") or a.get("aria-labelledby") for a in page.all("progress"))


def test_it_loads_itself_again_without_a_script_and_fetches_nothing(tmp_path):
    page = shown(STATE, tmp_path)
    assert page.all("meta", **{"http-equiv": "refresh"})[0]["content"] == "5"
    assert not page.all("script") and not page.all("img")
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert "http://" not in page.source and "https://" not in page.source
    assert page.open == [] and not [a for _, a in page.elements if "style" in a]


def test_stopped_it_says_why_and_how_to_go_on(tmp_path):
    page = shown(replace(STATE, stopped="This run was interrupted."), tmp_path)
    text = page.text.replace("\xa0", " ")
    assert "This run was interrupted." in text and "Nothing sampled is lost. To go on:" in text
    assert "python -m rcm_bench run quickstart --out x" in text
    assert "It stopped at: Sampling, 1,000 of 1,624 samples." in text
    assert "per second" not in text and "left" not in text


def test_unknown_rate_and_no_count_say_nothing_wrong(tmp_path):
    page = shown(replace(STATE, stage="Timing", done=0, total=0, rate=None, left=None), tmp_path)
    assert "Just begun." in page.text and not page.all("progress", class_="bar")


def test_hostile_text_stays_text(tmp_path):
    evil = replace(
        STATE,
        suite=SCRIPT + LONG,
        cells=[LiveCell(TURNED + SCRIPT + LONG, 1, 1, 0, 1)],
        failures={COMMAND + SCRIPT + LONG: 3},
        stopped=SCRIPT,
        command=SCRIPT,
    )
    page, plain = shown(evil, tmp_path), shown(replace(STATE, stopped="x"), tmp_path)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert "\u202e" not in page.source and "M" * 500 not in page.source
    assert SCRIPT in page.text


def test_many_failures_are_cut_and_counted(tmp_path):
    page = shown(replace(STATE, failures={f"f{i}": 1 for i in range(30)}), tmp_path)
    assert "And others, 30 in all." in page.text
