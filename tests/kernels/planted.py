"""Break the kernels on purpose and run the check on them; run by test_planted_errors.py.

Reads JSON {name: [file, old text, new text]} from standard input; prints for each which cases
failed. Every error is planted in a copy of the package under a name of its own.
"""

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import torch

import rcm_kernels
from rcm_kernels.case_table import cases_for
from rcm_kernels.check import Candidate, check

SOURCE = Path(rcm_kernels.__file__).parent
# Several blocks of keys, a tail, a causal edge, lengths.
CHOSEN = {
    "explicit mean float32 B1 H1 S65 T130 D64 bshd",
    "explicit iid float32 B1 H1 S65 T33 D96 guarded",
    "explicit iid float32 B1 H1 S65 T65 D64 guarded causal",
    "explicit iid float16 B3 H1 S20 T130 D32 guarded lengths",
}


def broken_copy(folder, name, file, old, new):
    """Import a copy of the package with one piece of text replaced."""
    package = folder / name
    package.mkdir()
    for path in SOURCE.glob("*.py"):
        text = path.read_text()
        if path.name == file:
            assert old in text, f"{file} has no {old!r}"
            text = text.replace(old, new)
        (package / path.name).write_text(re.sub(r"\brcm_kernels\b", name, text))
    return importlib.import_module(name)


def direct(package, impl):
    """Return the two functions of one path, of a copy."""
    if impl == "reference":
        api = importlib.import_module(f"{package}.api")
        attend = lambda *x, **o: api.attention(*x, impl="reference", **o)  # noqa: E731
        explicit = lambda *x, **o: api.attention_with_tangent(*x, impl="reference", **o)  # noqa: E731
        return attend, explicit
    launch = importlib.import_module(f"{package}.launch")

    class Direct(torch.autograd.Function):
        """The kernels and nothing else."""

        @staticmethod
        def forward(ctx, options, *tensors):
            saved = launch.forward(tensors[:3], tensors[3:], **options)
            ctx.save_for_backward(*tensors, *saved)
            ctx.options = options
            return saved.output, saved.tangent

        @staticmethod
        def backward(ctx, *gradients):
            tensors = ctx.saved_tensors
            weights = [None if x is None else x.contiguous() for x in gradients]
            saved = launch.Forward(*tensors[6:])
            if saved.tangent is None:
                weights[1] = None
            got = launch.backward(tensors[:3], tensors[3:6], saved, *weights, **ctx.options)
            return (None, *got)

    def run(tensors, *, scale=None, is_causal=False, enable_gqa=False, key_lengths=None):
        scale = tensors[0].shape[3] ** -0.5 if scale is None else scale
        options = {"scale": scale, "is_causal": is_causal, "key_lengths": key_lengths}
        return Direct.apply(options, *tensors)

    def attend(q, k, v, **options):
        return run((q, k, v, None, None, None), **options)[0]

    def explicit(*tensors, **options):
        return run(tensors, **options)

    return attend, explicit


def failures(name, impl, *, gradients):
    """Return which of a few cases of the table a path fails."""
    chosen = [c for c in cases_for("cpu", impl) if c.name in CHOSEN]
    cases = [replace(c, gradients=gradients) for c in chosen]
    assert len(cases) == len(CHOSEN)
    rng = torch.Generator().manual_seed(torch.seed() % 2**31)
    candidate = Candidate(impl, *direct(name, impl), launches=impl == "triton")
    return [r.case for r in check(candidate, cases, rng, "cpu") if r.failed]


if __name__ == "__main__":
    impl, folder = sys.argv[1], Path(sys.argv[2])
    sys.path.insert(0, str(folder))
    found = {"nothing": failures("rcm_kernels", impl, gradients=True)}
    for number, (error, (file, old, new)) in enumerate(json.load(sys.stdin).items()):
        copy = f"broken_{number}"
        broken_copy(folder, copy, file, old, new)
        found[error] = failures(copy, impl, gradients="gradients" in file)
    print(json.dumps(found))
