"""Names and signatures that users build on; a change here is a change for them."""

import importlib
import inspect

import pytest

SIGNATURES = {
    "rcm_kernels.attention": [
        *("query", "key", "value", "*scale", "*is_causal", "*impl"),
        *("*enable_gqa", "*attn_mask", "*key_lengths"),
    ],
    "rcm_kernels.attention_with_tangent": [
        *("query", "key", "value", "query_tangent", "key_tangent", "value_tangent"),
        *("*scale", "*is_causal", "*impl", "*enable_gqa", "*attn_mask", "*key_lengths"),
    ],
    "rcm_distill.samplers.euler.sample": ["denoiser", "noise", "cond", "*times", "*rngs"],
    "rcm_distill.samplers.heun.sample": ["denoiser", "noise", "cond", "*times", "*rngs"],
    "rcm_distill.samplers.consistency.sample": [
        *("denoiser", "noise", "cond", "*times", "*rngs", "*renoise")
    ],
    "rcm_distill.samplers.meanflow.sample": ["denoiser", "noise", "cond", "*times", "*rngs"],
    "rcm_distill.samplers.unipc.sample": [
        *("denoiser", "noise", "cond", "*times", "*rngs", "*order")
    ],
    "rcm_distill.tangent.tangent": [
        *("denoiser", "x_t", "t_B", "dx", "dt_B", "cond", "*s_B", "*method", "*step")
    ],
    "rcm_bench.run": ["suite", "out", "limit", "allow_pickle"],
    "rcm_bench.plan": ["suite", "allow_pickle"],
    "rcm_bench.status": ["run"],
    "rcm_bench.score": ["run"],
    "rcm_bench.report": ["run"],
    "rcm_bench.compare": ["runs", "*reference", "*published"],
    "rcm_bench.gate": ["run", "baseline", "margin", "junit", "summary"],
    "rcm_bench.baseline": ["run", "out"],
    "rcm_bench.power": ["suite", "pilot", "margin"],
    "rcm_bench.prompts": ["benchmark", "out"],
    "rcm_bench.distill": ["recipe", "out", "max_seconds"],
    "rcm_bench.doctor": [],
    "rcm_bench.kernels_check": ["json", "junit", "seed"],
    "rcm_bench.kernels_bench": ["out", "against", "rcm"],
    "rcm_kernels.checkpoint.checkpoint": ["function", "args"],
    "rcm_kernels.diffusers_backend.register": ["impl"],
    "rcm_kernels.fsdp.carry_tangents": [],
    "rcm_kernels.ulysses.ulysses_attention": [
        *("query", "key", "value", "*group", "*scale", "*is_causal", "*impl")
    ],
    "rcm_reports.render": ["report_input", "out"],
}
STUDENT_CALL = ["self", "student", "teacher", "critic", "batch", "*rng", "*step"]


def parameters(function):
    """Names of the parameters; a star marks those that are keyword only."""
    found = inspect.signature(function).parameters.values()
    return [("*" if p.kind is p.KEYWORD_ONLY else "") + p.name for p in found]


@pytest.mark.parametrize("name", SIGNATURES)
def test_functions(name):
    module, _, attribute = name.rpartition(".")
    function = getattr(importlib.import_module(module), attribute)
    assert parameters(function) == SIGNATURES[name]


@pytest.mark.parametrize("method", ["flow_matching", "scm", "rcm", "dmd2", "meanflow", "dcm"])
def test_objectives(method):
    objective = importlib.import_module(f"rcm_distill.objectives.{method}").Objective
    assert parameters(objective.__call__) == STUDENT_CALL
    assert {"needs", "phase", "variant", "critic_loss"} <= set(dir(objective))
