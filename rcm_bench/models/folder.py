"""A folder of samples that were made elsewhere: taken byte for byte, on any machine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rcm_bench.bring.files import Facts, check_files, odd_ones, shown
from rcm_bench.bring.layouts import list_folder, missing
from rcm_bench.bring.model import BroughtModel, NotBroughtError
from rcm_bench.bring.places import find_paths
from rcm_bench.bring.recorded import Recorded
from rcm_bench.canonical import bytes_digest, digest_of
from rcm_bench.errors import UserError
from rcm_bench.suite import Name, Strict
from rcm_bench.types import Brought, Cost, ModelContext, PromptRecord, WorkItem
from rcm_bench.unrecorded import UNKNOWN


class FolderSettings(Strict):
    """Keys of a suite's model entry that belong to this kind."""

    layout: Literal["geneval", "vbench", "plain"] = Field(
        description="How the files are named: as GenEval's scripts or VBench's write them, or "
        "<line of the prompt>-<number>.png"
    )
    path: Name = Field(
        description="The folder; {steps} stands for the number of steps where there are several"
    )
    incomplete: bool = Field(
        default=False, description="Take a set that lacks samples, and count them as missing"
    )
    sizes: Literal["equal", "mixed"] = Field(
        default="equal", description="Whether files of another size or length are refused"
    )
    recorded: Recorded = Field(
        default_factory=Recorded, description="What is known of how the samples were made"
    )


class Model(BroughtModel):
    """Samples from a folder for each number of steps."""

    Settings = FolderSettings

    def __init__(self, settings: FolderSettings, sampler: Any, context: ModelContext) -> None:
        self.settings, self._context = settings, context
        self._files: dict[tuple[int, str, int], Path] = {}
        self._facts: dict[Path, Facts] = {}
        self._digests: dict[str, str] = {}

    def bring(
        self, prompts: Sequence[PromptRecord], samples: Mapping[str, int], steps: Sequence[int]
    ) -> None:
        """Find and read every file, before anything runs.

        Args:
            prompts: The suite's prompts.
            samples: How many samples of each prompt it asks for, by prompt id.
            steps: The step counts of this model.

        Raises:
            UserError: Names everything that is missing, damaged, odd, or named otherwise.
        """
        place = f"{self._context.place}.path"
        folders = find_paths(self.settings.path, steps, self._context.folder, place)
        faults = []
        for count, root in folders.items():
            if not root.is_dir():
                faults.append(f"{place}: {shown(root)}: expected a folder, got a file")
                continue
            try:
                found = self._bring(count, root, prompts, samples)
            except OSError as fault:
                found = [f"{shown(fault.filename or root)}: cannot be read ({fault.strerror})"]
            faults += [f"{place}: {line}" for line in found]
        if faults:
            raise UserError("\n".join(faults))
        self._check_sizes(place)

    def _bring(
        self, steps: int, root: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]
    ) -> list[str]:
        """Take one folder; return what is wrong with it, a line each."""
        listing = list_folder(self.settings.layout, root, prompts, samples)
        lines = list(listing.faults)
        if listing.files and not self.settings.incomplete:
            absent = missing(listing, prompts, samples)
            lines += absent
            if absent and not listing.faults:
                lines.append("a set that lacks samples is taken with 'incomplete: true'")
        facts, broken = check_files(list(listing.files.values()), root)
        odd = odd_ones(facts) if self.settings.sizes == "equal" else {}
        lines += [f"{shown(p.relative_to(root))}: {text}" for p, text in (broken | odd).items()]
        self._files |= {(steps, *key): path for key, path in listing.files.items()}
        self._facts |= facts
        found = {key: facts[path].digest for key, path in listing.files.items() if path in facts}
        rows = [[*key, digest] for key, digest in sorted(found.items())]
        self._digests[str(steps)] = digest_of(rows)
        return [f"{shown(root)}: {line}" for line in lines]

    def _check_sizes(self, place: str) -> None:
        shapes = sorted({facts.shape() for facts in self._facts.values()})
        if self.settings.sizes == "equal" and len(shapes) > 1:
            raise UserError(
                f"{place}: expected files of one size at all numbers of steps, got "
                f"{' and '.join(shapes)}; if that is meant, say 'sizes: mixed'"
            )

    def identity(self) -> dict[str, Any]:
        """Return a digest of the files, what they show of themselves, and what was recorded."""
        facts = list(self._facts.values())
        recorded = self.settings.recorded.given()
        return {
            "kind": "folder",
            "weights": self.digest(),
            "files": self._digests,
            "formats": sorted({each.format for each in facts}),
            "resolution": _one([[each.height, each.width] for each in facts]),
            "frames": _one([each.frames for each in facts]),
            "fps": _one([each.fps for each in facts]),
            "dtype": recorded.get("dtype", UNKNOWN),
            "recorded": recorded,
        }

    def cost(self) -> Cost:
        """Return the mean size of a file; taking it costs no time worth telling."""
        sizes = [facts.num_bytes for facts in self._facts.values()]
        return Cost(seconds_per_evaluation=0.0, bytes_per_sample=sum(sizes) / max(len(sizes), 1))

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Brought]:
        """Yield the files of one planned batch.

        Raises:
            NotBroughtError: The folder lacks one.
            UserError: A file is another than it was when it was checked.
        """
        for item in items:
            path = self._files.get((item.steps, item.prompt_id, item.seed_index))
            if path is None:
                raise NotBroughtError("the folder that was brought lacks this sample")
            facts, data = self._facts[path], path.read_bytes()
            if bytes_digest(data) != facts.digest:
                raise UserError(f"{shown(path)}: changed since it was checked; run again")
            yield Brought(data=data, flags=facts.flags)


def _one(values: list[Any]) -> Any:
    """Return the value that all share, else all that occur."""
    different = sorted({str(value): value for value in values}.items())
    return different[0][1] if len(different) == 1 else [value for _, value in different]
