"""What the numbers of a run were made under: all that decides whether they can be compared."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from rcm_bench.finish import OpenRun
from rcm_bench.manifest import make_protocol
from rcm_bench.prompt_sets import prompt_key


class HasConditions(Protocol):
    """Anything that says what its numbers were made under, such as `Conditions` or `Evidence`."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Return everything that can change a score, ``benchmarks`` with their settings too."""
        ...

    @property
    def prompts(self) -> Mapping[str, str]:
        """Return prompt ids and a digest of each prompt, its task and its metadata."""
        ...

    @property
    def circumstances(self) -> Mapping[str, Any]:
        """Return what changes no score beyond rounding."""
        ...


class Conditions(NamedTuple):
    """What a run's numbers were made under.

    Attributes:
        protocol: Everything that can change a score, as in a manifest, under the scorers that the
            scores are from; with the settings of each benchmark under ``benchmarks``.
        prompts: Prompt id to a digest of the prompt, its task and its metadata.
        circumstances: What changes no score beyond rounding: machine, versions, batch size.
    """

    protocol: Mapping[str, Any]
    prompts: Mapping[str, str]
    circumstances: Mapping[str, Any]


def conditions_of(run: OpenRun) -> Conditions:
    """Return the conditions of an opened run, under the scorers of today."""
    suite = run.plan.suite
    return Conditions(
        protocol={
            **make_protocol(run.plan, run.benchmarks),
            "benchmarks": {name: _placeless(s or {}) for name, s in suite.benchmarks.items()},
        },
        prompts={prompt.prompt_id: prompt_key(prompt) for prompt in run.plan.prompts},
        circumstances={
            **run.store.manifest.get("environment", {}),
            "batch_size": suite.run.batch_size,
        },
    )


def _placeless(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where weights lie, wherever their digest says what they are."""
    known = settings.get("sha256") is not None
    return {
        key: _placeless(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if not (known and key == "weights")
    }
