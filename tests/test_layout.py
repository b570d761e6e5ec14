import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"rcm_bench", "rcm_distill", "rcm_kernels", "rcm_reports"}
WEIGHTS = {"lab-teacher", "lab-rcm", "lab-scm", "lab-dmd2"}
MOST_BYTES = 60_000_000


def test_outer_folders_are_no_packages():
    """An installed package named ``kernels`` or ``reports`` must win over our folders."""
    for folder in ("distill", "kernels", "reports", "tests"):
        assert not (ROOT / folder / "__init__.py").exists(), folder


def test_weights_are_small_enough_and_have_cards():
    files = {p.stem: p for p in (ROOT / "rcm_bench" / "weights").glob("*.safetensors")}
    assert set(files) == WEIGHTS
    assert sum(p.stat().st_size for p in files.values()) <= MOST_BYTES
    assert all(p.with_suffix(".md").exists() for p in files.values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names of the files in the wheel that this checkout builds."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", source], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", out, source], check=True)
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


@pytest.mark.long
def test_the_wheel_holds_our_packages_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


@pytest.mark.long
def test_the_wheel_holds_suites_weights_and_templates(wheel):
    held = set(wheel)
    assert {f"rcm_bench/weights/{name}.safetensors" for name in WEIGHTS} <= held
    assert {"rcm_bench/suites/quickstart.yaml", "rcm_bench/suites/lab.yaml"} <= held
    assert "rcm_bench/suites/recipes/lab_rcm.yaml" in held
    assert "rcm_bench/data/published_scores.csv" in held
    assert any(name.startswith("rcm_reports/templates/") for name in held)
