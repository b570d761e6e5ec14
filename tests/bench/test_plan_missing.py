"""What is missing is listed by a plan; what is wrong ends it, whatever else is missing."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from rcm_bench.cli import app
from rcm_bench.errors import MissingError, UserError, check_all

SUITE = """\
suite: lacking
models:
  teacher: {kind: wan, role: teacher, sampler: rcm, weights: Wan-AI/Wan2.1-T2V-1.3B-Diffusers,
            revision: 0fad780a534b6463e45facd96134c9f345acfa5b, resolution: [480, 832]}
samplers: {rcm: {kind: rcm}}
steps: [1]
prompts: {file: prompts.txt}
benchmarks: {BENCHMARKS}
"""
DINO = "dino_model/dino_vitbase16_pretrain.pth"
SHA = "'" + "a" * 64 + "'"
DETECTOR = f"detector: {{kind: mask2former, layout: mmdet, weights: lost.pth, sha256: {SHA}}}"
KINDS = {
    "a file of weights that no dimension reads": (
        "vbench: {mode: custom_input, dimensions: [motion_smoothness], weights: {FILE: x}}",
        {"FILE": ("amt_model/amt.pth", "amt_model/amt-s.pth")},
        "benchmarks.vbench.weights: unknown file 'amt_model/amt.pth'. Available: ",
        "the environment of vbench 0.1.5 is not built",
    ),
    "weights of another digest": (
        "vbench: {mode: custom_input, dimensions: DIMENSIONS, "
        f"weights: {{{DINO}: {SHA}}}}}",
        {"DIMENSIONS": ("[motion_smoothness, subject_consistency]", "[motion_smoothness]")},
        f"{DINO}: expected SHA-256 aaaa",
        "the environment of vbench 0.1.5 is not built",
    ),
    "a tag that open_clip does not know": (
        f"geneval: {{{DETECTOR}, colours: {{weights: TAG}}}}",
        {"TAG": ("opena", "openai")},
        "unknown pretrained tag 'opena' of ViT-L-14",
        "lost.pth: no such file",
    ),
    "real images of another digest": (
        f"fid: {{inception: {{weights: lost.pth, sha256: {SHA}}}, real: REAL}}",
        {"REAL": (f"{{folder: real, sha256: {SHA}}}", "null")},
        "benchmarks.fid.real.sha256: real: expected aaaa",
        "lost.pth: no such file",
    ),
    "no features": (
        "feature_diversity: FEATURES",
        {"FEATURES": (
            "{}", f"{{dino: {{weights: lost, sha256: {SHA}, config_sha256: {SHA}}}}}")},
        "expected features to compare by: ",
        "lost/config.json: no such file",
    ),
}  # fmt: skip


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plan a suite of Wan2.1, whose weights are not here, with some benchmark."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RCM_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path / "weights"))
    monkeypatch.delenv("RCM_BENCH_VBENCH", raising=False)
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "weights" / DINO).parent.mkdir(parents=True)
    (tmp_path / "weights" / DINO).write_bytes(b"x")
    (tmp_path / "real").mkdir()
    for shade in range(2):
        Image.new("L", (8, 8), shade).save(tmp_path / "real" / f"{shade}.png")

    def plan(benchmark):
        text = SUITE.replace("BENCHMARKS", benchmark)
        if benchmark.startswith("geneval"):
            text = text.replace("{file: prompts.txt}", "{set: geneval}")
        (tmp_path / "s.yaml").write_text(text)
        made = CliRunner().invoke(app, ["plan", "s.yaml"])
        return made.exit_code, " ".join(made.output.split())

    return plan


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_of_the_users_is_one_whatever_is_missing(kind, planned):
    benchmark, choices, said, lacking = KINDS[kind]
    ((name, (wrong, right)),) = choices.items()
    if "geneval" in benchmark:
        pytest.importorskip("open_clip")
    code, text = planned(benchmark.replace(name, wrong))
    assert code == 2, text
    assert said in text and "Wan2.1-T2V-1.3B-Diffusers at 0fad780a534b is not on this" in text
    code, text = planned(benchmark.replace(name, right))
    assert code == 0, text
    assert lacking in text and "A run cannot start yet." in text


def test_faults_come_before_what_is_missing_and_all_that_is_missing_is_told():
    def fails(kind, text):
        def check():
            raise kind(text)

        return check

    lost = [fails(MissingError, "no a"), fails(MissingError, "no b"), fails(MissingError, "no a")]
    with pytest.raises(MissingError, match=r"^no a\nno b$"):
        check_all(lost)
    with pytest.raises(UserError, match=r"^wrong\nno a\nno b$") as caught:
        check_all([*lost, fails(UserError, "wrong"), lambda: None])
    assert not isinstance(caught.value, MissingError)
    check_all([])


def test_two_benchmarks_that_lack_weights_are_both_told(tmp_path):
    """The models lack nothing, so that the plan ends; one plan still says all there is to get."""
    lost = f"weights: lost.pt, sha256: {SHA}"
    (tmp_path / "s.yaml").write_text(
        "suite: s\nextends: quickstart\nbenchmarks:\n"
        f"  fid: {{inception: {{{lost}}}}}\n"
        f"  feature_diversity: {{dino: {{weights: gone, sha256: {SHA}, config_sha256: {SHA}}}}}\n"
    )
    made = CliRunner().invoke(app, ["plan", str(tmp_path / "s.yaml")])
    text = " ".join(made.output.split())
    assert made.exit_code == 2
    assert "lost.pt: no such file" in text and "gone/config.json: no such file" in text
