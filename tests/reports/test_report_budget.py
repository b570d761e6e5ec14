import time

from synthetic_report import Recipe, build

from rcm_reports import render


def test_a_quickstart_is_small_and_fast(tmp_path):
    run = build(tmp_path, Recipe())
    assert len(run.samples) == 3016
    start = time.process_time()
    path = render(run, tmp_path / "report")
    seconds = time.process_time() - start
    size = path.stat().st_size
    assert size < 5_000_000, size
    assert seconds < 5, seconds


def test_more_samples_than_fit_are_cut_and_said(tmp_path):
    models = {"teacher": {4: (0.9, 0.9)}, "rcm": {1: (0.8, 0.8)}}
    recipe = Recipe(models=models, reference=("teacher", 4), num_prompts=900, seeds=1, images=False)
    run = build(tmp_path, recipe)
    text = render(run, tmp_path).read_text(encoding="utf-8").replace("\xa0", " ")
    assert "Inside this page: 800 of 900 prompts" in text
    assert "that is 1,600 of 1,800 samples" in text and "The viewer holds all 1,800" in text
