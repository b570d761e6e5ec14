from types import SimpleNamespace

import pytest
import tiny_models


@pytest.fixture(autouse=True, scope="session")
def caches(tmp_path_factory):
    """Keep digests and embeddings of the tests out of the user's caches, and the hub's too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RCM_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def large_disk(monkeypatch):
    """Plan suites of 30 GB on any machine: what is free on this one is no part of the tests."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1e15))


@pytest.fixture(scope="session")
def wan(tmp_path_factory):
    """Folder of a tiny Wan pipeline, and the pipeline."""
    folder = tmp_path_factory.mktemp("wan")
    return folder, tiny_models.save_wan(folder)


@pytest.fixture(scope="session")
def cosmos(tmp_path_factory):
    """Folder of a tiny Cosmos-Predict2 text-to-image pipeline, and the pipeline."""
    folder = tmp_path_factory.mktemp("cosmos")
    return folder, tiny_models.save_cosmos(folder)


@pytest.fixture(scope="session")
def cosmos_video(tmp_path_factory):
    """Folder of a tiny Cosmos-Predict2 Video2World pipeline, and the pipeline."""
    folder = tmp_path_factory.mktemp("cosmos_video")
    return folder, tiny_models.save_cosmos(folder, video=True)
