import os
import sys
from pathlib import Path

import pytest
from tiny_suite import ENOUGH, PROMPTS, SUITE

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture(autouse=True, scope="session")
def plugins():
    """The fake model and benchmark, found through real entry points."""
    sys.path.insert(0, str(PLUGINS))
    yield
    sys.path.remove(str(PLUGINS))


@pytest.fixture(autouse=True, scope="module")
def no_plots():
    """Leave out the plots of runs in this process; subprocesses draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rcm_reports.write_plots", lambda report, out: [])
        yield


@pytest.fixture
def suite(tmp_path):
    """Write a suite (the tiny one, or with changes) and return its path."""

    def write(text=SUITE, prompts=PROMPTS, name="tiny.yaml", **replaced):
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "prompts.txt").write_text(prompts, encoding="utf-8")
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def runs(plugins, tmp_path_factory):
    """Make a run of the tiny suite with changes, without its page; equal ones are made once.

    What it returns is shared by tests: a test that changes a run copies it first.
    """
    import rcm_bench

    made = {}

    def make(text=SUITE, prompts=ENOUGH, limit=None, **replaced):
        key = repr((text, prompts, limit, sorted(replaced.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("run")
            for old, new in replaced.items():
                assert old in text
                text = text.replace(old, new)
            (folder / "prompts.txt").write_text(prompts, encoding="utf-8")
            (folder / "tiny.yaml").write_text(text, encoding="utf-8")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("rcm_reports.write_plots", lambda report, out: [])
                patch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
                rcm_bench.run(str(folder / "tiny.yaml"), folder / "out", limit)
            made[key] = folder / "out"
        return made[key]

    return make


@pytest.fixture
def environment():
    """Environment of a subprocess that can import this checkout and the plug-ins."""
    root = Path(__file__).parents[2]
    parts = [root, root / "distill", root / "kernels", root / "reports", PLUGINS]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, parts)), "OMP_NUM_THREADS": "1"}
