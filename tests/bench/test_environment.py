"""What a run was made with: everything that can change a number is recorded with its version."""

import torch

from rcm_bench import environment as recorded


def test_libraries_that_make_samples_are_recorded_with_their_versions():
    found = recorded.environment("cpu")
    assert found["diffusers"] == recorded.installed("diffusers")
    for name in ("torch", "transformers", "triton", "imageio-ffmpeg"):
        assert found.get(name) == recorded.installed(name)
    assert not {"driver", "cuda", "cudnn"} & found.keys()


def test_a_gpu_is_recorded_with_driver_cuda_and_cudnn(monkeypatch):
    monkeypatch.setattr(recorded, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(recorded, "driver", lambda: "580.1")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    found = recorded.environment("cuda")
    assert (found["device"], found["driver"], found["cudnn"]) == ("a GPU", "580.1", 91002)
    assert found["cuda"] == torch.version.cuda
