"""Which models and benchmarks go together where scores were made elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from rcm_bench.errors import UserError
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.types import Benchmark, Model

_HOW = (
    "geneval takes results with 'detector: {kind: results}', vbench and vbench_i2v with "
    "'results: {}'; all models of a suite are scored by one scorer"
)


def check_together(
    loaded: LoadedSuite, models: Mapping[str, Model], benchmarks: Sequence[Benchmark]
) -> None:
    """Refuse to score here what has no samples, and to take scores of what has.

    Args:
        loaded: The suite.
        models: Its models, brought.
        benchmarks: Its benchmarks. One that takes results has ``takes_results``: the metrics that
            it wants of them, or None.

    Raises:
        UserError: A model and a benchmark do not go together, or results lack a metric.
    """
    for benchmark in benchmarks:
        wanted = getattr(benchmark, "takes_results", lambda: None)()
        for name, model in models.items():
            entry = loaded.suite.models[name]
            place = loaded.place("models", name, "kind")
            if entry.kind == "results":
                _check_results(place, model, benchmark, wanted)
            elif wanted is not None:
                raise UserError(
                    f"{place}: benchmark '{benchmark.name}' takes scores that were made elsewhere, "
                    f"and this model brings none (kind: results). {_HOW}"
                )


def _check_results(
    place: str, model: Any, benchmark: Benchmark, wanted: Sequence[str] | None
) -> None:
    if wanted is None:
        if benchmark.scorer() is None:  # it measures cost, which is missing with its reason
            return
        raise UserError(
            f"{place}: benchmark '{benchmark.name}' scores samples, and results bring none. {_HOW}"
        )
    if model.settings.layout != benchmark.name:
        raise UserError(
            f"{place}: benchmark '{benchmark.name}' got results in layout '{model.settings.layout}'"
        )
    lacking = model.lacking(wanted)
    if lacking:
        raise UserError(
            f"{place}: {'; '.join(lacking)}. Leave them out under benchmarks.{benchmark.name}, or "
            "take what there is with 'incomplete: true' (without them there is no total)"
        )
