import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from vbench_stand_in import standing

from rcm_bench.vbench import environment
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
