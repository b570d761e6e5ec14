"""Sampling and scoring: failures are records, limits are stratified, equal samples are reused."""

import json
import shutil
import threading
from collections import Counter

import numpy as np
import pytest

from rcm_bench import sampling, timing_rounds
from rcm_bench.errors import UserError
from rcm_bench.exit_codes import explain
from rcm_bench.finish import open_run
from rcm_bench.media import decode, encode, flags_of
from rcm_bench.store import RunStore
from rcm_bench.tables import run_tables
from rcm_bench.types import Media
from rcm_bench.verbs.report import report
from rcm_bench.verbs.run import run
from rcm_bench.verbs.score import score
from rcm_bench.verbs.status import status


def samples_of(folder):
    opened = open_run(folder)
    return run_tables(opened.plan, opened.store.index(), opened.benchmarks)


def test_one_poisoned_prompt_does_not_spoil_its_batch(suite, tmp_path):
    path = suite(**{"level: 0.9": "level: 0.9, fail_on: number 3"})
    outcome = run(str(path), tmp_path / "out")
    assert not outcome.done and not outcome.whole
    tables = samples_of(tmp_path / "out")
    failed = tables.samples[tables.samples["status"] != "ok"]
    assert set(failed["prompt"]) == {"prompt number 3"} and set(failed["model"]) == {"student"}
    assert len(failed) == 6 and (failed["status"] == "failed").all()
    assert len(tables.failures) == 6
    assert set(tables.failures["attempts"]) == {2}
    message = tables.failures["message"].iloc[0]
    assert message == "RuntimeError: cannot draw prompt number 3"
    missing = outcome.measurements.set_index(["model", "steps"])["n_missing"]
    assert missing["student", 1] == 3 and missing["teacher", 1] == 0

    # Running again tries again, and counts the attempts together.
    run(str(path), tmp_path / "out")
    assert set(samples_of(tmp_path / "out").failures["attempts"]) == {4}


def test_files_are_written_while_the_next_batch_is_made(suite, tmp_path, monkeypatch):
    """The first file waits, in vain if nothing goes on beside it, until the second batch begins."""
    import rcm_fake

    path = suite()
    begun, calls, waited = threading.Event(), [], []
    real, write = rcm_fake.Model.generate, sampling.encode

    def generate(self, items):
        calls.append(items)
        if len(calls) == 2:
            begun.set()
        return real(self, items)

    def wait(media):
        waited.append(begun.wait(60))
        return write(media)

    monkeypatch.setattr(rcm_fake.Model, "generate", generate)
    monkeypatch.setattr(sampling, "encode", wait)
    assert run(str(path), tmp_path / "out").done
    assert all(waited)


def test_a_users_fault_ends_the_run_and_keeps_what_there_is(suite, tmp_path, monkeypatch):
    import rcm_fake

    path = suite()
    real, calls = rcm_fake.Model.generate, []

    def faulty(self, items):
        calls.append(items)
        if len(calls) > 1:
            raise UserError("weights: do not fit")
        return real(self, items)

    monkeypatch.setattr(rcm_fake.Model, "generate", faulty)
    with pytest.raises(UserError, match="weights: do not fit"):
        run(str(path), tmp_path / "out")
    index = RunStore.open(tmp_path / "out").index()
    assert len(calls) == 2 and len(index.samples) == len(calls[0]) and not index.failures


def test_a_failure_that_passes_is_retried(suite, tmp_path, monkeypatch):
    import rcm_fake

    path = suite()
    real, calls = rcm_fake.Model.generate, []

    def flaky(self, items):
        calls.append(len(items))
        if len(calls) == 2:
            raise RuntimeError("once")
        return real(self, items)

    monkeypatch.setattr(rcm_fake.Model, "generate", flaky)
    assert run(str(path), tmp_path / "a").whole
    assert calls[:4] == [8, 8, 8, 2]
    monkeypatch.setattr(rcm_fake.Model, "generate", real)
    run(str(path), tmp_path / "b")
    for name in ("measurements.csv", "paired.csv"):
        one, two = (tmp_path / x / "tables" / name for x in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_failures_stop(suite, tmp_path):
    path = suite(**{"level: 0.9": "level: 0.9, fail_on: number 3",
                    "batch_size: 8": "batch_size: 8, failures: stop"})  # fmt: skip
    with pytest.raises(sampling.StoppedByFailureError, match="says 'failures: stop'") as caught:
        run(str(path), tmp_path / "out")
    assert explain(caught.value).code == 4
    done = status(tmp_path / "out")
    assert sum(cell.sampled for cell in done.cells) >= 36
    assert done.failures == [
        ("sample error", "RuntimeError: cannot draw prompt number 3", 1)
    ]  # fmt: skip


def test_a_run_whose_every_sample_failed_says_why(suite, tmp_path, monkeypatch):
    """It said that nothing had been sampled yet, and to start with: run."""

    def refuse(self, items):
        raise ValueError("height must be divisible by 8")
        yield

    monkeypatch.setattr("rcm_fake.Model.generate", refuse)
    why = "no sample could be made; 72 of 72 failed with: ValueError: height must be divisible by 8"
    with pytest.raises(UserError, match=why):
        run(str(suite()), tmp_path / "out")
    with pytest.raises(UserError, match=why):
        report(tmp_path / "out")


def test_score_zero_counts_missing_samples_as_wrong(suite, tmp_path):
    plain = {"level: 0.9": "level: 0.9, fail_on: number 3"}
    out = run(str(suite(**plain)), tmp_path / "a").measurements
    zero = run(str(suite(**plain, **{"batch_size: 8": "batch_size: 8, failures: score_zero"})),
               tmp_path / "b").measurements  # fmt: skip
    assert set(out["n_missing"]) == set(zero["n_missing"]) == {0, 3}


def test_unscorable_samples_are_failures_of_scoring(suite, tmp_path):
    path = suite(prompts="one\nunscorable two\nthree\n")
    outcome = run(str(path), tmp_path / "out")
    assert not outcome.done
    tables = samples_of(tmp_path / "out")
    assert (tables.samples["status"] == "ok").all()
    assert set(tables.failures["stage"]) == {"score"} and len(tables.failures) == 12
    assert tables.failures["message"].iloc[0] == "brightness: ValueError: no eyes for this"
    assert len(tables.scores) == 24
    assert any("12 samples are not scored" in remark for remark in outcome.remarks)


def test_what_a_user_can_mend_in_scoring_is_said_without_a_class(suite, tmp_path, monkeypatch):
    def refuse(self, samples):
        raise UserError("no weights for this:\ngone.pt")

    monkeypatch.setattr("rcm_fake.Scorer.__call__", refuse)
    run(str(suite()), tmp_path / "out")
    (failure,) = status(tmp_path / "out").failures
    assert failure == ("score error", "brightness: no weights for this:\ngone.pt", 72)


def test_degenerate_samples_are_flagged_and_counted(suite, tmp_path):
    outcome = run(str(suite(**{"level: 0.9": "blank: true"})), tmp_path / "out")
    tables = samples_of(tmp_path / "out")
    blank = tables.samples["flags"] == "one_colour"
    assert set(tables.samples[blank]["model"]) == {"student"} and blank.sum() == 36
    assert "36 samples are degenerate (one colour, or not finite)" in outcome.remarks
    array = np.zeros((4, 4, 3), np.uint8)
    assert flags_of(Media(array=array, nfe=1, finite=False)) == ["non_finite", "one_colour"]
    array[1, 2, 0] = 1
    assert flags_of(Media(array=array, nfe=1)) == []


def test_png_keeps_every_pixel(tmp_path):
    array = np.random.default_rng().integers(0, 256, (5, 7, 3), dtype=np.uint8)
    media = Media(array=array, nfe=1)
    (tmp_path / "x.png").write_bytes(encode(media))
    assert (decode(tmp_path / "x.png") == array).all()
    assert encode(media) == encode(Media(array=array.copy(), nfe=2))
    with pytest.raises(ValueError, match=r"expected an image of shape \(H, W, 3\) and dtype uint8"):
        encode(Media(array=array.astype(np.float32), nfe=1))


def test_limit_is_stratified_and_prints_no_total(suite, tmp_path):
    lines = [{"prompt": f"{tag} {i}", "tag": tag} for tag in "abc" for i in range(4)]
    path = suite(**{"prompts.txt": "prompts.jsonl"})
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    outcome = run(str(path), tmp_path / "out", limit=3)
    assert outcome.done and not outcome.whole
    assert "limited to 3 of 12 prompts: no benchmark totals" in outcome.remarks
    tables = samples_of(tmp_path / "out")
    there = tables.samples[tables.samples["status"] == "ok"]
    first = {p.prompt_id for p in open_run(tmp_path / "out").plan.prompts[:3]}
    assert sorted(there[there["prompt_id"].isin(first)]["task"].unique()) == ["a", "b", "c"]
    assert len(there[there["prompt_id"].isin(first)]) == 3 * 3 * 4
    # Planned batches are made whole, so that a later run without a limit has the same bits.
    full = run(str(path), tmp_path / "out")
    assert full.whole
    fresh = run(str(path), tmp_path / "fresh")
    assert fresh.whole
    for name in ("measurements.csv", "paired.csv"):
        one, two = (tmp_path / x / "tables" / name for x in ("out", "fresh"))
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(UserError, match="--limit: expected at least 1 prompt, got 0"):
        run(str(path), tmp_path / "out", limit=0)


def test_equal_samples_are_reused_and_nothing_else(suite, tmp_path, monkeypatch):
    import rcm_fake

    run(str(suite()), tmp_path / "first")
    path = suite(**{"steps: [1, 2]": "steps: [1, 2, 3]\nreuse: [first]"})
    made = []
    real = rcm_fake.Model.generate
    monkeypatch.setattr(
        rcm_fake.Model, "generate", lambda self, items: made.extend(items) or real(self, items)
    )
    outcome = run(str(path), tmp_path / "second")
    assert outcome.whole
    assert {(item.model, item.steps) for item in made} == {("student", 3)}
    records = RunStore.open(tmp_path / "second").index().samples.values()
    assert sum("from" in record for record in records) == 72
    # The copies are whole: the first run may go.
    shutil.rmtree(tmp_path / "first")
    made.clear()
    (tmp_path / "records").mkdir()
    assert report(tmp_path / "second").whole and score(tmp_path / "second").whole
    with pytest.raises(UserError, match=r"reuse\[0\]: first: no such folder, neither in"):
        run(str(path), tmp_path / "second")


def test_a_new_version_of_a_scorer_scores_again_without_sampling(suite, tmp_path, monkeypatch):
    import rcm_fake

    path = suite()
    run(str(path), tmp_path / "out")
    monkeypatch.setattr(rcm_fake.Model, "generate", None)
    monkeypatch.setattr(rcm_fake.Scorer, "version", "2")
    assert not report(tmp_path / "out").whole
    assert score(tmp_path / "out").whole
    assert set(samples_of(tmp_path / "out").scores["version"]) == {"2"}


def test_rounds_of_a_stopped_timing_are_kept_and_measured_anew(suite, tmp_path, monkeypatch):
    """Also the report shows them, with as many rounds as there were."""
    path = suite(**{"{brightness: {}}": "{brightness: {}, latency: {}}"})
    real, calls = timing_rounds.once, []

    def once(*arguments, **how):
        calls.append(arguments)
        if len(calls) == 4 + 2 * 4 + 2:  # warm-ups, two whole rounds, two cells of a third
            raise KeyboardInterrupt
        return real(*arguments, **how)

    monkeypatch.setattr(timing_rounds, "once", once)
    with pytest.raises(KeyboardInterrupt):
        run(str(path), tmp_path / "out")
    stopped = report(tmp_path / "out")
    assert not stopped.done and sorted(stopped.timings["n"]) == [2, 2, 2, 3]
    first = set(timed_at(tmp_path / "out"))
    again = run(str(path), tmp_path / "out")
    assert again.done and set(again.timings["n"]) == {8}
    assert len(first) == 1 and first.isdisjoint(timed_at(tmp_path / "out"))


def test_a_cell_that_fails_keeps_the_times_of_the_others(suite, tmp_path, monkeypatch):
    path = suite(**{"{brightness: {}}": "{brightness: {}, latency: {}}"})
    real, rounds = timing_rounds.once, Counter()

    def once(model, item, peak, **how):
        cell = (item.model, item.steps)
        rounds[cell] += 1
        if cell == ("student", 2) and rounds[cell] > 3:
            raise MemoryError("no room")
        return real(model, item, peak, **how)

    monkeypatch.setattr(timing_rounds, "once", once)
    outcome = run(str(path), tmp_path / "out")
    assert not outcome.done and rounds["student", 2] == 4 and rounds["student", 1] == 9
    numbers = outcome.timings.set_index(["model", "steps"])["n"].to_dict()
    assert numbers == {("teacher", 1): 8, ("teacher", 4): 8, ("student", 1): 8, ("student", 2): 2}
    (said,) = [each for each in outcome.remarks if "timing" in each]
    assert said == "timing student at 2 steps failed: round 3: MemoryError: no room"


def timed_at(folder):
    timings = RunStore.open(folder).index().timings
    return [record["at"] for records in timings.values() for record in records]


def test_times_are_measured_once_in_a_run_and_never_reused(suite, tmp_path):
    path = suite(**{"{brightness: {}}": "{brightness: {}, latency: {}}"})
    first = run(str(path), tmp_path / "out")
    assert len(first.timings) == 4 and set(first.timings["n"]) == {8}
    assert (first.timings["low"] <= first.timings["value"]).all()
    assert (first.timings["value"] <= first.timings["high"]).all()
    nfe = first.measurements.query("benchmark == 'latency'").set_index(["model", "steps"])
    assert nfe["value"].to_dict() == {("teacher", 1): 1, ("teacher", 4): 4,
                                      ("student", 1): 1, ("student", 2): 2}  # fmt: skip
    again = run(str(path), tmp_path / "out")
    assert again.timings.equals(first.timings) and report(tmp_path / "out").timings.equals(
        first.timings
    )
    other = suite(**{"{brightness: {}}": "{brightness: {}, latency: {}}\nreuse: [out]"})
    outcome = run(str(other), tmp_path / "other")
    assert outcome.whole
    # Values may be equal by chance; when they were measured is not.
    assert min(timed_at(tmp_path / "other")) > max(timed_at(tmp_path / "out"))
