"""GenEval as a benchmark on Mask2Former: suites, scores, results as upstream has them, receipts."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import rcm_bench
from rcm_bench import geneval_selftest
from rcm_bench.benchmarks.geneval import Benchmark
from rcm_bench.canonical import file_digest
from rcm_bench.detectors import mask2former_weights
from rcm_bench.detectors.settings import ColourSettings, Mask2FormerSettings
from rcm_bench.errors import UserError
from rcm_bench.finish import open_run
from rcm_bench.geneval_export import file_name, write_cells
from rcm_bench.geneval_prompts import NAMES, official_metadata
from rcm_bench.geneval_results import read_results
from rcm_bench.geneval_rules import judge
from rcm_bench.prompt_sets import _records
from rcm_bench.scorers import geneval as scorers
from rcm_bench.scorers.geneval import Models, Scorer
from rcm_bench.tables import run_tables
from rcm_bench.types import Detection, SampleRef

DIGEST = "743b7d99" + "0" * 56
OFFICIAL = Mask2FormerSettings(
    kind="mask2former", weights="a/official.pth", layout="mmdet", sha256=DIGEST
)
RECORDS = official_metadata()


class FakeDetector:
    """Finds what the picture's first pixel says: the index of a prompt, or something else."""

    batch = 3

    def __init__(self):
        self.calls = []

    def __call__(self, images, masks=None, threshold=0.3):
        self.calls.append(images.shape)
        return [self._found(image, wanted) for image, wanted in zip(images, masks, strict=True)]

    def _found(self, image, wanted):
        record = RECORDS[int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])]
        found = []
        for k, clause in enumerate(record["include"]):
            for n in range(clause["count"]):
                name = clause["class"]
                # Every relation is left of; counts and classes are right.
                x = np.float32(30 - 25 * k + 3 * n)
                mask = np.ones(image.shape[:2], bool) if name in wanted else None
                box = (x, np.float32(0), x + np.float32(2), np.float32(2))
                found.append(Detection(name, np.float32(0.95), box, mask))
        return found


class FakeColours:
    """Names what the picture's third channel says."""

    def prepare(self, image, detection):
        assert detection.mask is not None
        return int(image[0, 0, 2]), detection.name

    def __call__(self, crops):
        return ["red" if number else "blue" for number, _ in crops]


@pytest.fixture
def fake(monkeypatch):
    detector = FakeDetector()
    models = Models(detector, FakeColours(), 0.987)
    monkeypatch.setattr(scorers, "load", lambda *settings: models)
    return detector


def picture(path, index, red=1, size=(40, 56)):
    array = np.zeros((*size, 3), np.uint8)
    array[0, 0] = (index // 256, index % 256, red)
    Image.fromarray(array).save(path)


def reference(path, index, number=0):
    record = RECORDS[index]
    return SampleRef(
        sample_key=f"s{number}", item_id=f"i{number}", digest=f"d{number}", path=path,
        prompt=record["prompt"], task=record["tag"], metadata=record,
    )  # fmt: skip


def test_scores_are_the_rules_on_what_was_found(fake, tmp_path):
    """All tasks, images of two sizes, in order; colours for those that ask, and only for them."""
    chosen = list(range(0, 553, 9))
    refs = []
    for number, index in enumerate(chosen):
        picture(tmp_path / f"{number}.png", index, number % 2, (40, 56) if number % 3 else (64, 32))
        refs.append(reference(tmp_path / f"{number}.png", index, number))
    scores = list(Scorer(detector=OFFICIAL)(refs))
    assert [s.sample_digest for s in scores] == [r.digest for r in refs]
    assert {shape[1:3] for shape in fake.calls} == {(40, 56), (64, 32)}
    assert max(shape[0] for shape in fake.calls) == 3
    right = defaultdict(list)
    for number, (index, score) in enumerate(zip(chosen, scores, strict=True)):
        record, color = RECORDS[index], "red" if number % 2 else "blue"
        slow = judge(
            fake._found(np.asarray(Image.open(tmp_path / f"{number}.png")), NAMES),
            record,
            lambda found, color=color: [color] * len(found),
        )
        assert score.value == float(slow.correct) and (score.reason or "") == slow.reason
        assert score.details["correct"] == slow.correct and score.details["self_test"] == 0.987
        assert list(score.details["boxes"]) == list(slow.details)
        asked = {c["class"] for c in record["include"] if "color" in c}
        assert set(score.details.get("colours", ())) == asked
        right[record["tag"]].append(score.value)
    assert np.mean(right["counting"]) == 1 and 0 < np.mean(right["position"]) < 1
    assert 0 < np.mean(right["colors"]) < 1


def test_what_cannot_be_judged_has_no_score_and_its_reason(fake, tmp_path):
    picture(tmp_path / "good.png", 0)
    picture(tmp_path / "small.png", 0, size=(8, 8))
    (tmp_path / "empty.png").write_bytes(b"")
    refs = [reference(tmp_path / f"{name}.png", 0, k)
            for k, name in enumerate(["empty", "good", "small", "gone"])]  # fmt: skip
    scores = list(Scorer(detector=OFFICIAL)(refs))
    assert [s.value for s in scores] == [None, 1.0, None, None]
    assert [(s.reason or "").partition(":")[0] for s in scores] == [
        *("empty.png", "", "small.png", "gone.png")
    ]


def test_prompts_that_are_not_genevals_are_refused(fake, tmp_path):
    picture(tmp_path / "a.png", 0)
    ref = reference(tmp_path / "a.png", 0)
    lab = {**RECORDS[0], "include": [{"class": "star", "count": 1}]}
    for metadata, message in (({}, "key 'tag' is missing"), (lab, "unknown class 'star'")):
        changed = SampleRef(**{**{k: getattr(ref, k) for k in ref.__slots__}, "metadata": metadata})
        with pytest.raises(UserError, match=f"sample i0: .*{message}"):
            list(Scorer(detector=OFFICIAL)([changed]))


def test_a_failed_self_test_forbids_scores_and_is_not_repeated(monkeypatch, tmp_path):
    loads = []
    monkeypatch.setattr(
        "rcm_bench.detectors.mask2former_weights.load_model", lambda *a: loads.append(a) or Dull()
    )
    monkeypatch.setattr("rcm_bench.detectors.mask2former.Mask2Former", lambda model, device: model)
    scorers._loaded.cache_clear()
    for _ in range(3):
        with pytest.raises(UserError, match="self-test failed on this machine: person 0.004"):
            list(Scorer(detector=OFFICIAL)([]))
    assert len(loads) == 1
    scorers._loaded.cache_clear()


class Dull:
    def __call__(self, images, masks, threshold):
        return [[Detection("person", 0.004, geneval_selftest.PERSON)]]


def test_settings_name_the_weights_and_what_may_be_said_of_them():
    official, moved = (
        Scorer(detector=OFFICIAL.model_copy(update={"weights": path})) for path in ("a.pth", "b/c")
    )
    assert official.settings() == moved.settings(), "a path is no part of a key"
    assert "equal up to rounding" in official.settings()["detector"]["agreement"]
    assert official.name == "Mask2Former (weights: mmdet; transformers) and CLIP ViT-L/14"
    hub = Scorer(
        detector=Mask2FormerSettings(
            kind="mask2former", weights="facebook/x", layout="hub", revision="a" * 40
        )
    )
    assert "never exact GenEval" in hub.settings()["detector"]["agreement"]
    assert "other, hub" in hub.name and hub.settings()["detector"]["weights"] == "facebook/x"
    other = Scorer(detector=OFFICIAL.model_copy(update={"sha256": "0" * 64}))
    assert "never exact GenEval" in other.agreement and other.name != official.name
    keys = [json.dumps(s.settings(), sort_keys=True) for s in (official, hub, other)]
    named = Scorer(detector=OFFICIAL, colours=ColourSettings(weights="x.pt", sha256="1" * 64))
    keys.append(json.dumps(named.settings(), sort_keys=True))
    assert len(set(keys)) == 4


MASK2FORMER = f"geneval: {{detector: {{kind: mask2former, weights: DIR/m.pth, layout: mmdet, sha256: {DIGEST}}}}}"  # noqa: E501
SET = {"file: prompts.txt, samples_per_prompt: 3": "set: geneval, samples_per_prompt: 1"}


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ("mask2", "detector: expected 'lab', got 'mask2'"),
        ("{kind: mask2former, layout: hub}", "detector: key 'weights' is missing"),
        ("{kind: mask2former, weights: x, layout: mmdet}", "detector: .*local weights 'sha256'"),
        ("{kind: mask2former, weights: x, layout: hub, sha25: a}", "Did you mean 'sha256'"),
        ("{kind: mask2former, weights: x, layout: hub, revision: main}", "commit of 40 digits"),
        ("{kind: mask2former, weights: x, layout: mmdet, sha256: abc}", "has 64 digits"),
        (f"{{kind: mask2former, weights: x, layout: hub, sha256: {DIGEST}}}", "config_sha256"),
        (f"{{kind: mask2former, weights: x, layout: mmdet, sha256: {DIGEST}}}", "x: no such file"),
    ],
)
def test_faults_in_a_suite_name_line_and_key(suite, detector, message):
    from rcm_bench.verbs.plan import plan

    path = suite(**SET, **{"brightness: {}": f"geneval: {{detector: {detector}}}"})
    with pytest.raises(UserError, match=message) as caught:
        plan(str(path))
    assert "benchmarks.geneval" in str(caught.value)


def test_other_weights_are_refused_before_anything_is_sampled(suite, tmp_path):
    """Both files at once: hours of sampling must not end in a digest that differs."""
    (tmp_path / "m.pth").write_bytes(b"weights")
    (tmp_path / "clip.pt").write_bytes(b"of another kind")
    both = MASK2FORMER.replace("DIR", str(tmp_path))[:-1]
    both += f", colours: {{weights: {tmp_path}/clip.pt, sha256: '{'1' * 64}'}}}}"
    path = suite(**SET, **{"brightness: {}": both})
    with pytest.raises(UserError) as caught:
        rcm_bench.run(str(path), tmp_path / "out")
    detector, colours = str(caught.value).splitlines()
    assert f"detector: {tmp_path}/m.pth: expected SHA-256 {DIGEST}, got" in detector
    assert f"colours: {tmp_path}/clip.pt: expected SHA-256 {'1' * 64}, got" in colours
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said_with_its_size_and_where_it_is(suite):
    official = "_20220504_001756-743b7d99.pth"
    for layout, more, said in (
        ("mmdet", "", f"about 0.3 GB; get it: curl -LO https://.*{official}"),
        ("hub", f", config_sha256: {DIGEST}", "about 0.3 GB.*'revision'"),
    ):
        own = f"{{kind: mask2former, weights: x, layout: {layout}, sha256: {DIGEST}{more}}}"
        clip = f"{{weights: gone.pt, sha256: '{'1' * 64}'}}"
        given = f"geneval: {{detector: {own}, colours: {clip}}}"
        path = suite(**SET, **{"brightness: {}": given})
        with pytest.raises(UserError, match=f"x.*: no such file; .*{said}") as caught:
            rcm_bench.plan(str(path))
        assert "colours: gone.pt: no such file; " in str(caught.value)


def test_looking_for_the_official_colours_imports_no_torch(tmp_path):
    code = (
        "import sys; from rcm_bench.geneval_colours import check_file; "
        "from rcm_bench.detectors.settings import ColourSettings; "
        "check_file(ColourSettings(), 'colours'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_labs_detector_takes_no_clip(suite):
    from rcm_bench.verbs.plan import plan

    path = suite(**SET, **{"brightness: {}": "geneval: {colours: {}}"})
    with pytest.raises(UserError, match="geneval.colours: belongs to 'detector: {kind: mask2"):
        plan(str(path))


@pytest.fixture(scope="module")
def geneval_run(plugins, tmp_path_factory):
    """The tiny suite on GenEval's first 40 prompts of all tasks, scored by the fakes."""
    import rcm_fake
    from tiny_suite import SUITE

    from rcm_bench import run

    folder = tmp_path_factory.mktemp("geneval")
    lines = [json.dumps(r) for r in RECORDS[::14]]
    (folder / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "m.pth").write_bytes(b"weights")
    text = SUITE.replace(
        "prompts.txt, samples_per_prompt: 3", "prompts.jsonl, samples_per_prompt: 2"
    )
    text = text.replace("brightness: {}", MASK2FORMER.replace("DIR", str(folder)))
    (folder / "tiny.yaml").write_text(text)
    models = Models(FakeDetector(), FakeColours(), 0.987)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rcm_reports.write_plots", lambda report, out: [])
        patch.setattr(rcm_fake, "SIDE", 40)
        patch.setattr(rcm_fake.Model, "generate", _drawn)
        patch.setattr(scorers, "load", lambda *settings: models)
        # The file stands in for the official one, whose digest the suite names.
        patch.setattr(mask2former_weights, "hold_to", lambda *given: None)
        outcome = run(str(folder / "tiny.yaml"), folder / "out")
    return outcome


def _drawn(self, items):
    from rcm_bench.types import Media

    for item in items:
        index = next(k for k, r in enumerate(RECORDS) if r["prompt"] == item.prompt)
        array = np.full((40, 40, 3), item.seed_index, np.uint8)
        array[0, 0] = (index // 256, index % 256, item.steps % 2)
        yield Media(array=array, nfe=item.steps, seconds={"sample": 1e-4})


def test_a_run_gives_official_files_that_add_up_to_its_scores(geneval_run):
    """By the summary script's recipe: mean over tasks of the mean over images."""
    tables = geneval_run.run_dir / "tables"
    names = sorted(path.name for path in tables.glob("geneval_*.jsonl"))
    assert names == ["geneval_student_few_1.jsonl", "geneval_student_few_2.jsonl",
                     "geneval_teacher_flow_1.jsonl", "geneval_teacher_flow_4.jsonl"]  # fmt: skip
    measured = geneval_run.measurements.set_index(["model", "steps", "metric"])["value"]
    for name in names:
        _, model, _, steps = name.removesuffix(".jsonl").split("_")
        table = pd.read_json(tables / name, orient="records", lines=True)
        assert len(table) == 80 and len(table.groupby("metadata")) == 40
        tasks = table.groupby("tag", sort=False)["correct"].mean()
        assert list(tasks.index) == ["single_object", "two_object", "counting", "colors",
                                     "position", "color_attr"]  # fmt: skip
        for task, value in tasks.items():
            assert measured[model, int(steps), task] == pytest.approx(value)
        assert measured[model, int(steps), "overall"] == pytest.approx(tasks.mean())
        rows = read_results(tables / name)
        assert [r.filename for r in rows[:3]] == [
            "00000/samples/00000.png", "00000/samples/00001.png", "00001/samples/00000.png",
        ]  # fmt: skip
        assert all(r.details for r in rows)


def test_the_page_and_the_receipt_show_the_self_test_and_the_weights(geneval_run):
    page = geneval_run.report.read_text()
    assert "self-test passed: person 0.987 on a portrait of one" in page
    assert "equal up to rounding" in page
    assert "4 samples a prompt are official, here 2" in page


def test_another_number_of_samples_is_a_deviation_that_can_be_seen(geneval_run):
    manifest = json.loads((geneval_run.run_dir / "manifest.json").read_text())
    deviation = manifest["protocol"]["prompts"]["deviation"]
    assert deviation == "GenEval: 4 samples a prompt are official, here 2; 40 of its 553 prompts"


def test_an_incomplete_cell_gets_no_file(geneval_run, tmp_path):
    run = open_run(geneval_run.run_dir)
    samples, scores, _ = run_tables(run.plan, run.store.index(), run.benchmarks)
    prompts = _records(RECORDS[::14], "test")
    assert len(write_cells(samples, scores, prompts, "geneval", tmp_path)) == 4
    gone = scores.index[scores["item_id"] == samples["item_id"].iloc[5]]
    written = write_cells(samples, scores.drop(gone), prompts, "geneval", tmp_path)
    assert len(written) == 3 and len(list(tmp_path.iterdir())) == 3


def test_names_of_files_are_safe_and_differ():
    assert file_name("rcm", "few-step", "4") == "geneval_rcm_few-step_4.jsonl"
    names = {file_name(model, "s", "1") for model in ("../a", "..\\a", "a", "a/..", "é", "x" * 300)}
    assert len(names) == 6
    assert all(len(n) < 120 and "/" not in n and "\\" not in n for n in names)
    assert all(n.startswith("geneval_") and n.isascii() for n in names)


def test_the_benchmark_needs_no_torch_to_be_named(environment):
    """``report`` makes benchmarks and scorers; it must start fast."""

    given = f"kind='mask2former', weights='x', layout='mmdet', sha256='{DIGEST}'"
    code = (
        "import sys; from rcm_bench.benchmarks.geneval import Benchmark; "
        "from rcm_bench.detectors.settings import Mask2FormerSettings; "
        f"Benchmark(detector=Mask2FormerSettings({given})).scorer().settings(); "
        "assert not {'torch', 'transformers', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert Benchmark().detector == "lab"


def test_the_readmes_suite_is_accepted_by_plan(suite, tmp_path, monkeypatch):
    """The example of the README, beside two models that can draw."""
    from rcm_bench.verbs.plan import plan

    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(prompts: \{set: geneval\}.*?)```", readme, re.DOTALL)
    (tmp_path / "m.pth").write_bytes(b"weights")
    monkeypatch.setenv("DETECTOR", str(tmp_path / "m.pth"))
    monkeypatch.setenv("DETECTOR_SHA256", file_digest(tmp_path / "m.pth"))
    path = suite(**{
        "prompts: {file: prompts.txt, samples_per_prompt: 3}\nbenchmarks: {brightness: {}}\n":
        example + "variables: {DETECTOR: null, DETECTOR_SHA256: null}\n",
    })  # fmt: skip
    summary = plan(str(path))
    assert summary.benchmarks == ["geneval"]
    assert summary.counts["num_prompts"] == 553 and summary.counts["samples_per_prompt"] == 4
