import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from vbench_stand_in import standing
from vbench_suite import SUITE, small_info

from rcm_bench.canonical import file_digest
from rcm_bench.vbench import environment, prompts, staging
from rcm_bench.vbench.dimensions import WEIGHTS


@pytest.fixture
def built(tmp_path, monkeypatch):
    """An environment that holds the stand-in, with all weights."""
    cache = tmp_path / "weights"
    root = standing(tmp_path / "environment", WEIGHTS, cache)
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(root))
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(cache))
    monkeypatch.delenv("STAND_IN", raising=False)
    return environment.find()


@pytest.fixture
def rng():
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture
def video(tmp_path, monkeypatch, built):
    """A suite of VBench on the stand-in; the fake model's images pass for videos."""
    path = tmp_path / "info.json"
    path.write_text(json.dumps(small_info()))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(path))
    monkeypatch.setattr(staging, "SUFFIXES", (".png",))
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    suite = tmp_path / "video.yaml"
    suite.write_text(SUITE)
    return suite
