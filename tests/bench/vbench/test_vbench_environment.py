"""The package's environment: found, half built, of another version, built step by step."""

import json
import os
import re
import sys

import pytest

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.__main__ import main
from rcm_bench.vbench.dimensions import DELEGATED, I2V_OWN, T2V, WEIGHTS
from rcm_bench.vbench.whence import UNKNOWN, WHENCE, told


def test_doctor_names_what_is_missing_and_the_command_that_mends_it(built, monkeypatch, tmp_path):
    checks = {c.name: c for c in rcm_bench.doctor()}
    assert checks["VBench"].good and str(built.root) in checks["VBench"].found
    for name in (*DELEGATED, *I2V_OWN):
        own = checks[f"VBench {name}"]
        assert own.good and own.optional
        assert "unverified: no real weights have run here" in own.found
    (environment.weights_folder() / "amt_model" / "amt-s.pth").unlink()
    faults = {"scene": "ModuleNotFoundError: x", "color": "No module named 'detectron2'",
              "i2v_background": "No module named 'dreamsim'",
              "camera_motion": "No module named 'vbench2_beta_i2v.third_party'"}  # fmt: skip
    (built.root / environment.MARKER).write_text(json.dumps({"faults": faults}))
    found = {f.name: f for f in environment.findings()}
    assert not found["VBench motion_smoothness"].good
    assert "amt-s.pth: 0.01 GB, https:" in found["VBench motion_smoothness"].mend
    assert found["VBench scene"].mend == environment.BUILD
    assert "detectron2@git" in found["VBench color"].mend
    assert (
        "pip install dreamsim==0.2.1 && python -m rcm_bench" in found["VBench i2v_background"].mend
    )
    assert "third_party of VBench's repository" in found["VBench camera_motion"].mend
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(tmp_path / "none"))
    (only,) = environment.findings()
    assert not only.good and only.mend == "python -m rcm_bench.vbench build"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not whole; build it: python -m rcm_bench.vbench build"),
        ("{", "damaged"),
        ('{"faults": 3}', "damaged"),
        ("[]", "damaged"),
    ],
)
def test_an_environment_that_is_not_whole_is_not_used(text, message, built):
    marker = built.root / environment.MARKER
    marker.unlink()
    if text is not None:
        marker.write_text(text)
    with pytest.raises(UserError, match=message):
        environment.find()


def test_another_version_of_the_package_is_refused(built):
    (old,) = built.root.glob("lib/python*/site-packages/vbench-0.1.5.dist-info")
    old.rename(old.with_name("vbench-0.1.4.dist-info"))
    with pytest.raises(UserError, match="holds no vbench 0.1.5; build it again"):
        environment.find()


PYTHON = """#!{interpreter}
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
if sys.argv[1:3] == ["-m", "venv"]:
    from vbench_stand_in import standing
    root = Path(sys.argv[3])
    (root / "pyvenv.cfg").write_text("")
    standing(root, {{}}, root / "weights")
    (root / "rcm_bench.json").unlink()
    python = root / "bin" / "python"
    python.write_text(python.read_text().replace(
        "exec", 'test "$2" = pip && {{ echo "$@" >> "$0.log"; exit $FAIL; }}; exec'))
"""


@pytest.fixture
def python(tmp_path):
    """An interpreter whose venv is the stand-in's, and whose pip only says what it was asked."""
    path = tmp_path / "python"
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path.write_text(PYTHON.format(interpreter=sys.executable, tests=tests))
    path.chmod(0o755)
    return str(path)


def test_it_is_built_from_our_pins_and_looked_at(python, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAIL", "1")
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(tmp_path / "new"))
    root = tmp_path / "new"
    with pytest.raises(UserError, match="-m pip install ... failed, exit code 1; log: .*build.log"):
        environment.build(root, python)
    with pytest.raises(UserError, match="is not whole"):
        environment.find()
    monkeypatch.setenv("FAIL", "0")
    (root / "lib").rename(tmp_path / "old")
    (root / "bin").rename(tmp_path / "oldbin")
    built = environment.build(root, python)
    assert set(built.faults) == {*T2V, "i2v_subject", "i2v_background", "camera_motion"}
    assert built.faults["scene"] == "ModuleNotFoundError: No module named 'vbench.scene'"
    asked = (root / "bin" / "python.log").read_text()
    assert str(environment.requirements()) in asked and "--no-input" in asked
    assert environment.find() == built
    (root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" /
     "vbench" / "scene.py").write_text("")  # fmt: skip
    assert main(["probe"]) == 0
    assert "scene: can be imported" in capsys.readouterr().out


def test_another_folder_is_never_built_over(tmp_path, python, capsys, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="expected a new folder or an environment"):
        environment.build(tmp_path / "mine", python)
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(tmp_path / "mine"))
    assert main(["build"]) == 2
    assert "expected a new folder" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_everything_is_pinned_and_named_by_its_pins(monkeypatch, tmp_path):
    lines = environment.requirements().read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["vbench"] == environment.VERSION and pins["numpy"].startswith("1.")
    assert int(pins["setuptools"].split(".")[0]) < 81
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", x) for x in lines if x[:1] != "#")
    for name in ("RCM_BENCH_VBENCH", "RCM_BENCH_CACHE"):  # tests of other folders set it
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.home().parent == tmp_path / "rcm_bench"
    other = tmp_path / "other.txt"
    other.write_text("x")
    before = environment.home()
    monkeypatch.setattr(environment, "requirements", lambda: other)
    assert environment.home() != before


def test_nothing_of_the_harness_reaches_the_packages_python(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/harness")
    monkeypatch.setenv("VIRTUAL_ENV", "/harness")
    variables = environment.variables()
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(variables)
    assert variables["PYTHONNOUSERSITE"] == "1" and variables["PATH"] == os.environ["PATH"]


def test_every_file_of_weights_is_told_where_it_is(built):
    names = {name for files in WEIGHTS.values() for name in files}
    assert names == set(WHENCE)
    assert not [name for name in names if UNKNOWN in told([built.root / name])]
    found = {f.name: f for f in environment.findings()}
    # DreamSim and CoTracker bring theirs: the folder that we look into has none of them.
    for name in ("i2v_background", "camera_motion"):
        assert found[f"VBench {name}"].found.startswith("fetches its weights itself when it runs")
