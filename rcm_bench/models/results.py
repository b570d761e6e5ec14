"""Scores that were made elsewhere, without samples: GenEval's and VBench's own result files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from rcm_bench.bring.files import shown
from rcm_bench.bring.model import BroughtModel, NotBroughtError
from rcm_bench.bring.places import find_paths
from rcm_bench.bring.prompts import number_of, quoted
from rcm_bench.bring.recorded import Recorded
from rcm_bench.bring.results_geneval import take_geneval
from rcm_bench.bring.results_vbench import take_vbench
from rcm_bench.bring.taken import Taken
from rcm_bench.canonical import canonical_json, digest_of
from rcm_bench.errors import UserError
from rcm_bench.suite import Name, Strict
from rcm_bench.types import Brought, Cost, ModelContext, PromptRecord, WorkItem
from rcm_bench.unrecorded import UNKNOWN
from rcm_bench.vbench.editions import EDITIONS, is_of

_READERS = {"geneval": take_geneval, "vbench": take_vbench, "vbench_i2v": take_vbench}
_BYTES = 500.0
_MAX_NAMED = 5


class ResultsSettings(Strict):
    """Keys of a suite's model entry that belong to this kind."""

    layout: Literal["geneval", "vbench", "vbench_i2v"] = Field(
        description="Whose files: GenEval's result JSONL, or *_eval_results.json of VBench or "
        "VBench-I2V"
    )
    file: Name = Field(
        description="The file, or for VBench a folder of them; {steps} stands for the number of "
        "steps where there are several"
    )
    incomplete: bool = Field(
        default=False, description="Take results that lack samples or dimensions, as missing"
    )
    recorded: Recorded = Field(
        default_factory=Recorded, description="What is known of how the samples were made"
    )


class Model(BroughtModel):
    """Scores from result files for each number of steps."""

    Settings = ResultsSettings

    def __init__(self, settings: ResultsSettings, sampler: Any, context: ModelContext) -> None:
        self.settings, self._context = settings, context
        self._taken: dict[int, Taken] = {}

    def bring(
        self, prompts: Sequence[PromptRecord], samples: Mapping[str, int], steps: Sequence[int]
    ) -> None:
        """Read every file, before anything runs.

        Args:
            prompts: The suite's prompts.
            samples: How many samples of each prompt it asks for, by prompt id.
            steps: The step counts of this model.

        Raises:
            UserError: Names everything that is missing or is not of the suite.
        """
        place = f"{self._context.place}.file"
        layout = self.settings.layout
        if layout in EDITIONS and not all(is_of(layout, p.metadata) for p in prompts):
            whose = "VBench" if layout == "vbench" else "VBench-I2V"
            raise UserError(f"{place}: {whose}'s results need 'prompts: {{set: {layout}}}'")
        faults: list[str] = []
        paths = find_paths(self.settings.file, steps, self._context.folder, place)
        for count, path in paths.items():
            try:
                taken = _READERS[self.settings.layout](path, prompts, samples)
            except UserError as fault:
                faults += str(fault).splitlines()
                continue
            self._taken[count] = taken
            faults += taken.faults
            if not self.settings.incomplete:
                faults += [f"{shown(path)}: {text}" for text in _lacking(taken, prompts, samples)]
        if faults:
            raise UserError("\n".join(f"{place}: {fault}" for fault in faults))

    def lacking(self, metrics: Sequence[str]) -> list[str]:
        """Say which metrics no sample has, by number of steps; nothing of an incomplete set.

        Args:
            metrics: What the benchmark asks for.
        """
        said = []
        for steps, taken in self._taken.items():
            there = {name for each in taken.scores.values() for name in each}
            gone = [name for name in metrics if name not in there]
            if gone and not self.settings.incomplete:
                said.append(f"at {steps} steps: no scores of {', '.join(gone)}")
        return said

    def identity(self) -> dict[str, Any]:
        """Return a digest of the scores, and what was recorded of the samples."""
        recorded = self.settings.recorded.given()
        remarks = {str(steps): list(taken.remarks) for steps, taken in self._taken.items()}
        return {
            "kind": "results",
            "weights": self.digest(),
            "files": {
                str(steps): digest_of([[*key, dict(v)] for key, v in sorted(taken.scores.items())])
                for steps, taken in self._taken.items()
            },
            "formats": ["scores"],
            "resolution": UNKNOWN,
            "dtype": recorded.get("dtype", UNKNOWN),
            "recorded": recorded,
            "remarks": {steps: said for steps, said in remarks.items() if said},
        }

    def cost(self) -> Cost:
        """Return the size of a stand-in; taking it costs no time worth telling."""
        return Cost(seconds_per_evaluation=0.0, bytes_per_sample=_BYTES)

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Brought]:
        """Yield what stands for the samples of one planned batch: their scores, as JSON.

        Raises:
            NotBroughtError: The results lack one.
        """
        for item in items:
            scores = self._taken[item.steps].scores.get((item.prompt_id, item.seed_index))
            if scores is None:
                raise NotBroughtError("the results that were brought lack this sample")
            text = canonical_json({"layout": self.settings.layout, "scores": dict(scores)})
            yield Brought(data=text.encode("utf-8"))


def _lacking(
    taken: Taken, prompts: Sequence[PromptRecord], samples: Mapping[str, int]
) -> list[str]:
    """Say what is missing: of each dimension that the results have, and of each sample."""
    there = {name for each in taken.scores.values() for name in each}
    gone: Counter[str] = Counter()
    first: dict[str, list[str]] = {}
    for prompt in sorted(prompts, key=lambda each: each.prompt_id):
        owed = prompt.metadata.get("vbench", {}).get("dimensions", there)
        for index in range(samples[prompt.prompt_id]):
            found = taken.scores.get((prompt.prompt_id, index), {})
            for name in (name for name in owed if name in there and name not in found):
                gone[name] += 1
                named = f"prompt {number_of(prompt)} {quoted(prompt.text)} number {index}"
                first.setdefault(name, []).append(named)
    said = []
    for name, count in gone.items():
        more = ", ..." if count > _MAX_NAMED else ""
        said.append(f"{name}: no score of {count}: {', '.join(first[name][:_MAX_NAMED])}{more}")
    if "color" in gone:  # GenEval's results have one metric, 'correct'
        said.append(
            "color: VBench leaves out videos without the object, and its <name>_full_info.json "
            "beside <name>_eval_results.json tells these from missing ones"
        )
    return [*said, "results that lack any are taken with 'incomplete: true'"] if said else []
