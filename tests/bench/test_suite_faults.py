"""Faults in a suite, word for word: file, line, key, what was expected, the nearest match."""

import pytest

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.prepare import prepare
from rcm_bench.suite_load import load_suite


def message(path):
    with pytest.raises(UserError) as caught:
        prepare(load_suite(str(path), {}))
    return str(caught.value).replace(str(path.parent), "DIR")


FAULTS = {
    "unknown key": (
        ("steps: [1, 2]", "stepz: [1, 2]"),
        [
            "DIR/tiny.yaml: key 'steps' is missing",
            "DIR/tiny.yaml: unknown key 'stepz'. Available: about, benchmarks, extends, gates, "
            "models, prompts, protocol, published, reuse, run, samplers, steps, suite, variables, "
            "version. Did you mean 'steps'?",
        ],
    ),
    "unknown inner key": (
        ("run: {batch_size: 8}", "run: {batchsize: 8}"),
        [
            "DIR/tiny.yaml:11: run: unknown key 'batchsize'. Available: batch_size, failures, "
            "retries. Did you mean 'batch_size'?"
        ],
    ),
    "unknown key of a model": (
        ("level: 0.9", "levle: 0.9"),
        [
            "DIR/tiny.yaml:4: models.student: unknown key 'levle'. Available: blank, fail_on, "
            "level. Did you mean 'level'?"
        ],
    ),
    "unknown key of a sampler": (
        ("flow: {kind: euler}", "flow: {kind: euler, guidence: 2.0}"),
        [
            "DIR/tiny.yaml:6: samplers.flow: unknown key 'guidence'. Available: guidance, kind, "
            "shift. Did you mean 'guidance'?"
        ],
    ),
    "unknown population": (
        ("run: {batch_size: 8}", "run: {batch_size: 8}\nprotocol: {population: new prompt}"),
        [
            "DIR/tiny.yaml:12: protocol.population: expected 'new prompts' or 'same prompts', "
            "got 'new prompt'"
        ],
    ),
    "misspelt model kind": (
        ("student: {kind: fake", "student: {kind: fak"),
        [
            "DIR/tiny.yaml:4: models.student.kind: unknown model kind 'fak'. Available: "
            "cosmos, diffusers, fake, folder, lab, results, wan. Did you mean 'fake'?"
        ],
    ),
    "misspelt benchmark": (
        ("{brightness: {}}", "{brightnes: {}}"),
        [
            "DIR/tiny.yaml:10: benchmarks.brightnes: unknown benchmark 'brightnes'. Available: "
            "aesthetic, brightness, clip_score, cmmd, detail, diversity, feature_diversity, fid, "
            "geneval, hpsv2, latency, pick_score, throughput, vbench, vbench_i2v. "
            "Did you mean 'brightness'?"
        ],
    ),
    "misspelt sampler": (
        ("sampler: few,", "sampler: fwe,"),
        [
            "DIR/tiny.yaml:4: models.student.sampler: unknown sampler 'fwe'. Available: few, flow. "
            "Did you mean 'few'?"
        ],
    ),
    "misspelt sampler kind": (
        ("few: {kind: consistency}", "few: {kind: consistensy}"),
        [
            "DIR/tiny.yaml:7: samplers.few.kind: unknown sampler kind 'consistensy'. Available: "
            "consistency, elsewhere, euler, heun, meanflow, rcm, scheduler, unipc. Did you mean "
            "'consistency'?"
        ],
    ),
    "negative steps": (
        ("steps: [1, 2]", "steps: [1, -2]"),
        ["DIR/tiny.yaml:8: steps[1]: expected a number >= 1, got -2"],
    ),
    "steps twice": (
        ("steps: [1, 2]", "steps: [2, 2]"),
        ["DIR/tiny.yaml:8: steps: expected each step count once, got [2, 2]"],
    ),
    "text for a number": (
        ("batch_size: 8", "batch_size: many"),
        ["DIR/tiny.yaml:11: run.batch_size: expected an integer, got 'many'"],
    ),
    "true for a number": (
        ("batch_size: 8", "batch_size: true"),
        ["DIR/tiny.yaml:11: run.batch_size: expected an integer, got True"],
    ),
    "no teacher": (
        ("role: teacher, ", ""),
        [
            "DIR/tiny.yaml:2: models: expected exactly one model with 'role: teacher', got none",
        ],
    ),
    "missing prompt file": (
        ("file: prompts.txt", "file: prompt.txt"),
        ["DIR/tiny.yaml:9: prompts.file: DIR/prompt.txt: no such file"],
    ),
    "set and file": (
        ("file: prompts.txt", "set: lab, file: prompts.txt"),
        ["DIR/tiny.yaml:9: prompts: expected exactly one of 'set' and 'file'"],
    ),
    "unknown prompt set": (
        ("file: prompts.txt", "set: lap, per_task: 2"),
        ["DIR/tiny.yaml:9: prompts.set: unknown prompt set 'lap'. Available: geneval, lab, vbench, "
         "vbench_i2v. Did you mean 'lab'?"],
    ),
    "undeclared variable": (
        ("level: 0.9", "level: '${LEVEL}'"),
        ["DIR/tiny.yaml:4: models.student.level: unknown variable 'LEVEL'. Available: none."],
    ),
    "key twice": (
        ("steps: [1, 2]", "steps: [1, 2]\nsteps: [1]"),
        ["DIR/tiny.yaml:9: top level: key 'steps' stands here and on line 8"],
    ),
    "alias": (
        ("steps: [1, 2]", "steps: &s [1, 2]"),
        [
            "DIR/tiny.yaml:8: not valid YAML for a suite: anchors and aliases are not allowed in "
            "suites; use 'extends' instead"
        ],
    ),
    "code in a tag": (
        ("steps: [1, 2]", "steps: !!python/object/apply:os.system [ls]"),
        [
            "DIR/tiny.yaml:8: not valid YAML for a suite: could not determine a constructor for "
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system'"
        ],
    ),
    "broken YAML": (
        ("steps: [1, 2]", "steps: [1, 2"),
        ["DIR/tiny.yaml:9: not valid YAML for a suite: expected ',' or ']', but got ':'"],
    ),
    "key that is a number": (
        ("steps: [1, 2]", "1: [1, 2]"),
        ["DIR/tiny.yaml:8: top level: expected text as a key, got 1; put it in quotes"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault, suite):
    (old, new), expected = FAULTS[fault]
    assert sorted(message(suite(**{old: new})).splitlines()) == sorted(expected)


def test_missing_and_unknown_suites(tmp_path):
    with pytest.raises(
        UserError,
        match=r"^quickstrat: unknown suite 'quickstrat'\. Available: .*"
        r"Did you mean 'quickstart'\?$",
    ):
        load_suite("quickstrat")
    with pytest.raises(
        UserError,
        match=r"no such file, and unknown suite 'lap'\. Available: .*"
        r"Did you mean 'lab'\?$",
    ):
        load_suite(str(tmp_path / "lap.yaml"))  # fmt: skip


def test_hostile_yaml(tmp_path):
    path = tmp_path / "x.yaml"
    for text in ("\0\1", 'suite: "\1"'):  # raised before anything of it is parsed
        path.write_text(text)
        with pytest.raises(
            UserError, match="x.yaml: not valid YAML .*unacceptable character #x000"
        ):
            load_suite(str(path))
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply|not valid YAML"):
        load_suite(str(path))
    path.write_text("suite: x\n" + "#" * (1 << 20))
    with pytest.raises(UserError, match=r"expected at most 1048576 bytes, got 1048585"):
        load_suite(str(path))
    path.write_bytes(b"suite: \xff\xfe")
    with pytest.raises(UserError, match="expected UTF-8, byte 7 is not"):
        load_suite(str(path))
    path.write_text("- a\n- b\n")
    with pytest.raises(UserError, match="expected a mapping of suite keys"):
        load_suite(str(path))


def test_variables(suite):
    text = "variables: {LEVEL: {default: 0.5, about: how bright}, NAME: null}\n"
    path = suite(**{"suite: tiny\n": "suite: 'tiny ${NAME} $${NAME}'\n" + text,
                    "level: 0.9": "level: '${LEVEL}'"})  # fmt: skip
    with pytest.raises(UserError, match=r"tiny\.yaml:2: variables\.NAME: has no default; set it"):
        load_suite(str(path), {})
    loaded = load_suite(str(path), {"NAME": "big", "HOME": "/secret"})
    assert loaded.suite.suite == "tiny big ${NAME}"
    assert loaded.suite.models["student"].settings() == {"level": 0.5}
    assert loaded.data["variables"] == {"LEVEL": 0.5, "NAME": "big"}
    assert load_suite(str(path), {"NAME": "x", "LEVEL": "0.25"}).data["variables"]["LEVEL"] == 0.25
    with pytest.raises(UserError, match="models.student.level: expected a number, got 'dark'"):
        prepare(load_suite(str(path), {"NAME": "x", "LEVEL": "dark"}))


def test_extends(suite, tmp_path):
    suite()
    child = tmp_path / "child.yaml"
    child.write_text("suite: child\nextends: tiny\nsteps: [3]\nmodels: {student: {level: 0.5}}\n")
    loaded = load_suite(str(child), {})
    assert loaded.suite.steps == [3]
    assert loaded.suite.models["teacher"].steps == [1, 4]
    student = loaded.suite.models["student"]
    assert (student.sampler, student.settings()) == ("few", {"level": 0.5})
    assert loaded.place("models", "student", "level") == f"{child}:4: models.student.level"
    assert loaded.where(("models", "student", "sampler")) == f"{tmp_path / 'tiny.yaml'}:4"

    child.write_text("suite: child\nextends: tiny\nprompts: {samples_per_prompt: 0}\n")
    assert message(child) == "DIR/child.yaml:3: prompts.samples_per_prompt: " \
                             "expected a number >= 1, got 0"  # fmt: skip
    child.write_text("suite: child\nextends: child\n")
    with pytest.raises(UserError, match=r"a suite cannot extend itself \(child.yaml -> child.yaml"):
        load_suite(str(child))
    child.write_text("suite: child\nextends: tini.yaml\n")
    with pytest.raises(UserError, match=r"child\.yaml:2: extends: .*tini\.yaml: no such file"):
        load_suite(str(child))


def test_settings_of_benchmarks_are_strict(suite):
    path = suite(**{"{brightness: {}}": "{geneval: {detektor: lab}}"})
    assert message(path).startswith(
        "DIR/tiny.yaml:10: benchmarks.geneval: unknown key 'detektor'. Available: colours, "
        "detector. Did you mean 'detector'?"
    )


@pytest.mark.parametrize(
    ("benchmark", "prompts", "said"),
    [
        ("geneval: {}", "{set: geneval}", "its own prompts alone .*'detector: {kind: mask2former"),
        ("geneval: {}", "{file: prompts.txt}", "its own prompts alone .*unknown word 'prompt'"),
        ("diversity: {}", "{set: geneval}", "its own prompts alone .*'feature_diversity' measures"),
        ("geneval: {}", "{file: lab.txt}", "expected a task of GenEval .*, got 'prompt'; lines of"),
    ],
)
def test_the_laboratorys_oracle_refuses_other_prompts_before_sampling(
    suite, tmp_path, benchmark, prompts, said
):
    """Hours of sampling a real model must not end in scores that are all missing."""
    (tmp_path / "lab.txt").write_text("a photo of a circle\n")
    path = suite(**{"brightness: {}": benchmark,
                    "{file: prompts.txt, samples_per_prompt: 3}": prompts})  # fmt: skip
    with pytest.raises(UserError, match=f"benchmarks.{benchmark[:-4]}: prompt .*{said}"):
        rcm_bench.run(str(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
