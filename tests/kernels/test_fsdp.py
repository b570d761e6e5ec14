"""Tangents and gradients of a network whose parameters FSDP2 shards over processes."""

import pytest
import torch
from processes import run_ranks


def compare(ranks):
    for found in ranks:
        alone = found["alone"]
        torch.testing.assert_close(found["sharded"], alone, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found["no gradients"], alone[:2], rtol=1e-10, atol=1e-12)


@pytest.mark.long
def test_sharded_over_two_processes(tmp_path):
    compare(run_ranks("fsdp", 2, tmp_path)[1])


@pytest.mark.long
def test_the_rule_is_still_needed(tmp_path):
    """When PyTorch brings a rule of its own, this fails and ``carry_tangents`` can go."""
    for found in run_ranks("fsdp", 2, tmp_path, UNPATCHED="1")[1]:
        assert "jvp" in found["unpatched"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_sharded_over_two_gpus(tmp_path):
    compare(run_ranks("fsdp", 2, tmp_path, device="cuda")[1])
