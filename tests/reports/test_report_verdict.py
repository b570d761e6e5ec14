from dataclasses import replace

import numpy as np
import pandas as pd

from rcm_reports import ReportInput
from rcm_reports.completeness import completeness
from rcm_reports.leads import difference_of
from rcm_reports.study import build_study
from rcm_reports.verdict import Verdict, verdict


def row(model: str, steps: int, metric: str = "geneval.overall", **values: float) -> dict:
    benchmark, name = metric.split(".")
    return {
        "benchmark": benchmark,
        "metric": name,
        "model": model,
        "sampler": "s",
        "steps": steps,
        "value": 0.9,
        "low": 0.88,
        "high": 0.92,
        **values,
    }


def pair(model: str, steps: int, ratio: float, half: float = 0.02, **changes: object) -> dict:
    difference = 0.9 * (ratio - 1)
    return row(model, steps, changes.pop("metric", "geneval.overall")) | {
        "difference": difference,
        "difference_low": difference - 0.9 * half,
        "difference_high": difference + 0.9 * half,
        "tied": abs(ratio - 1) <= half,
        "ratio": ratio,
        "ratio_low": ratio - half,
        "ratio_high": ratio + half,
        **changes,
    }


def run_of(
    pairs: list[dict], *, manifest: dict | None = None, num_samples: int = 10
) -> ReportInput:
    teacher = [row("teacher", 16), row("teacher", 16, "diversity.overall")]
    measured = teacher + [{k: p[k] for k in row("x", 1)} for p in pairs]
    samples = pd.DataFrame(
        [
            {
                "item_id": f"{model}{steps}{i}",
                "model": model,
                "sampler": "s",
                "steps": steps,
                "prompt_id": f"p{i}",
                "prompt": "a",
                "seed_index": 0,
                "blob": "x.png",
                "status": "ok",
                "nfe": steps * (2 if model == "teacher" else 1),
            }
            for model, steps in sorted({(m["model"], m["steps"]) for m in measured})
            for i in range(num_samples)
        ]
    )
    info = {"title": "Overall", "unit": "accuracy", "higher_is_better": True, "headline": True}
    base = {
        "reference": {"model": "teacher", "steps": 16},
        "models": {"teacher": {}, "rcm": {}, "scm": {}},
        "metrics": {"geneval.overall": info, "diversity.overall": info},
        "plan": {"num_items": len(samples)},
    }
    empty = pd.DataFrame()
    return ReportInput(
        manifest=base | (manifest or {}),
        measurements=pd.DataFrame(measured),
        paired=pd.DataFrame(pairs),
        samples=samples,
        scores=samples[["item_id"]].assign(benchmark="geneval", metric="correct", value=1.0),
        failures=empty,
        timings=empty,
        run_dir=None,
    )


def said(run: ReportInput) -> Verdict:
    found = verdict(build_study(run), completeness(run))
    return replace(found, lead=found.lead.replace("\xa0", " ").replace("\u2019", "'"))


def words(found: Verdict) -> list[str]:
    return [rung.words.replace("\xa0", " ") for rung in found.rungs]


def test_a_clear_result():
    found = said(
        run_of(
            [
                pair("rcm", 4, 0.97),
                pair("rcm", 1, 0.88),
                pair("scm", 4, 0.80),
                pair("scm", 1, 0.70),
                pair("rcm", 4, 0.82, 0.04, metric="diversity.overall"),
                pair("rcm", 1, 0.70, 0.04, metric="diversity.overall"),
            ]
        )
    )
    assert found.lead == (
        "At 4 steps rcm keeps 97 % [95, 99] of its teacher's GenEval score at 1/8 of the network "
        "evaluations, and keeps 82 % [78, 86] of its diversity. At 1 step it keeps "
        "88 % [86, 90] of the score, and keeps 70 % [66, 74] of its diversity."
    )
    assert words(found) == [
        "Best: rcm, ahead of scm by 17 points [14, 20], more than chance.",
        "Best: rcm, ahead of scm by 18 points [15, 21], more than chance.",
    ]
    assert not found.caveats


def test_a_tie_is_called_one_and_explained():
    found = said(run_of([pair("rcm", 4, 0.99)]))
    assert found.lead == (
        "At 4 steps rcm ties with its teacher in GenEval (99 % [97, 101] of its score) "
        "at 1/8 of the network evaluations."
    )
    assert any("does not show that they are equal" in caveat for caveat in found.caveats)


def test_a_student_above_its_teacher():
    assert (
        "scores higher than its teacher in GenEval (104 % [102, 106]"
        in said(run_of([pair("rcm", 4, 1.04)])).lead
    )


def test_students_that_are_close_are_not_ranked():
    found = said(run_of([pair("rcm", 2, 0.95, 0.03), pair("scm", 2, 0.92, 0.03)]))
    assert words(found) == [
        "No clear best: rcm scores highest, too close to call with scm (3 points [\u22121, 7])."
    ]


def test_the_interval_of_a_lead_covers():
    """Two students share a teacher: the interval covers at least as often as it says."""
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    rng = np.random.default_rng(seed)
    covered, rounds, prompts = 0, 2000, 60
    for _ in range(rounds):
        teacher = rng.normal(0.9, 0.1, prompts)
        a = rng.normal(0.85, 0.1, prompts) - teacher
        b = rng.normal(0.80, 0.1, prompts) - teacher
        halves = [2.0 * x.std(ddof=1) / np.sqrt(prompts) for x in (a, b)]
        lead = difference_of(
            (a.mean(), a.mean() - halves[0], a.mean() + halves[0]),
            (b.mean(), b.mean() - halves[1], b.mean() + halves[1]),
        )
        covered += lead.low <= 0.05 <= lead.high
    assert covered / rounds > 0.95


def test_some_close_some_behind():
    pairs = [pair("rcm", 2, 0.95), pair("scm", 2, 0.94), pair("dmd2", 2, 0.70), pair("x", 2, 0.93)]
    assert words(said(run_of(pairs))) == [
        "No clear best: rcm scores highest, too close to call with scm (1 point [\u22122, 4]) and "
        "x (2 points [\u22121, 5]). It is ahead of dmd2 by 25 points [22, 28], more than chance."
    ]


def test_what_could_not_be_tested_is_no_tie():
    pairs = [pair("rcm", 2, 0.99), pair("scm", 2, 0.90, tied=None)]
    (rung,) = said(run_of(pairs)).rungs
    assert [each.remark for each in rung.standings] == ["tie", "too few prompts to tell"]


def test_the_teacher_at_few_steps_stands_beside_the_students():
    found = said(run_of([pair("rcm", 1, 0.9), pair("teacher", 1, 0.1)]))
    last = found.rungs[0].standings[-1]
    assert (last.label, last.is_teacher) == ("teacher", True)
    assert "rcm" in found.lead, "the teacher itself is no student"


def test_a_limited_run_without_total_gives_no_verdict():
    run = run_of([pair("rcm", 4, 0.97)], manifest={"limit": 12})
    part = run.measurements.assign(metric="counting")
    part = part[part["benchmark"] == "geneval"]
    found = said(replace(run, measurements=part, paired=run.paired.assign(metric="counting")))
    assert found.lead == (
        "No verdict: this run is not complete (it was limited to 12 prompts and holds 20 of 20 "
        "planned samples), so no benchmark total is given. The parts below stand as they are."
    )
    assert not found.rungs


def test_an_incomplete_run_says_how_much_is_missing():
    run = run_of([pair("rcm", 4, 0.97)], manifest={"plan": {"num_items": 3016}})
    found = said(run)
    assert found.caveats[0].replace("\xa0", " ") == (
        "This run is not complete: 2,996 of 3,016 planned samples are missing."
    )


def test_samples_that_failed_are_missing():
    run = run_of([pair("rcm", 4, 0.97)])
    samples = run.samples.copy()
    samples.loc[0, ["status", "blob"]] = ["error", None]
    found = said(replace(run, samples=samples))
    assert "1 of 20 planned samples are missing" in found.caveats[0].replace("\xa0", " ")


def test_samples_without_a_score_are_counted():
    run = run_of([pair("rcm", 4, 0.97)])
    scores = run.scores.copy()
    scores.loc[:2, "value"] = np.nan
    expected = "3 samples not scored; they count as missing."
    assert said(replace(run, scores=scores)).caveats[0].replace("\xa0", " ") == expected
    assert said(replace(run, scores=scores.iloc[3:])).caveats[0].replace("\xa0", " ") == expected


def test_without_a_ratio_the_difference_is_said():
    nan = float("nan")
    changed = pair("rcm", 4, 0.9) | {"ratio": nan, "ratio_low": nan, "ratio_high": nan}
    assert (
        "differs from its teacher in GenEval by \u22120.090 [\u22120.108, \u22120.072]"
        in said(run_of([changed])).lead
    )


def test_without_an_interval_no_claim_is_made_on_who_leads():
    nan = np.nan
    pairs = [
        pair(m, 4, r, difference_low=nan, difference_high=nan, ratio_low=nan, ratio_high=nan)
        for m, r in (("rcm", 0.95), ("scm", 0.5))
    ]
    found = said(run_of(pairs))
    assert "95 % (no interval)" in found.lead
    assert words(found) == [
        "No clear best: rcm scores highest, too close to call with scm (45 points, no interval)."
    ]


def test_lower_is_better_turns_the_ranking():
    info = {"title": "Error", "unit": "", "higher_is_better": False, "headline": True}
    manifest = {"metrics": {"geneval.overall": info}}
    pairs = [pair("rcm", 4, 1.5), pair("scm", 4, 1.1)]
    found = said(run_of(pairs, manifest=manifest))
    assert found.lead.startswith(
        "At 4 steps scm differs from its teacher in GenEval: Error by +0.090"
    )
    assert words(found) == ["Best: scm, ahead of rcm by 0.360 [0.335, 0.385], more than chance."]
