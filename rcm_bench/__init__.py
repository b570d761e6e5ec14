"""How close a few-step diffusion model is to its teacher, with an interval on every number.

The verbs of the command line are here as functions: ``rcm_bench.run("quickstart")``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rcm_bench.verbs.baseline import baseline
    from rcm_bench.verbs.compare import compare
    from rcm_bench.verbs.distill import distill
    from rcm_bench.verbs.doctor import doctor
    from rcm_bench.verbs.gate import gate
    from rcm_bench.verbs.kernels_bench import kernels_bench
    from rcm_bench.verbs.kernels_check import kernels_check
    from rcm_bench.verbs.plan import plan
    from rcm_bench.verbs.power import power
    from rcm_bench.verbs.prompts import prompts
    from rcm_bench.verbs.report import report
    from rcm_bench.verbs.run import run
    from rcm_bench.verbs.score import score
    from rcm_bench.verbs.status import status

__all__ = [
    "baseline",
    "compare",
    "distill",
    "doctor",
    "gate",
    "kernels_bench",
    "kernels_check",
    "plan",
    "power",
    "prompts",
    "report",
    "run",
    "score",
    "status",
]


def __getattr__(name: str) -> Any:
    """Import a verb when it is first asked for, so that the package itself stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'rcm_bench' has no attribute '{name}'")
    return getattr(import_module(f"rcm_bench.verbs.{name}"), name)
