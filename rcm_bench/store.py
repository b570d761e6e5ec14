"""A run folder: frozen manifest, records, files; the only module that says where they lie."""

import errno
import fcntl
import json
import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rcm_bench.canonical import canonical_json
from rcm_bench.errors import UserError
from rcm_bench.feature_files import feature_names
from rcm_bench.media import suffix_of
from rcm_bench.store_blobs import Blobs, fsync_folder, write_file
from rcm_bench.store_records import RecordWriter, read_records
from rcm_bench.types import PromptRecord

SCHEMA = 1
MANIFEST = "manifest.json"
PROMPTS = "prompts.jsonl"
LOCK = ".report.lock"
# Keys of a suite that may change between two invocations: none of them changes a sample.
UNFROZEN = ("about", "published", "reuse")
_MAX_CHANGES = 5
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What the records of a run say; derived, and rebuilt whenever it is needed.

    Args:
        samples: Sample records by sample key.
        scores: Score records by score key.
        failures: Failure records by item id, in no order.
        timings: Timing records by item id, the newest first; of a cell without a whole one the
            last state of the session that was stopped.
        faults: Lines that are damaged.
        files: Where a stored file of a name lies.
        beside: What was measured beside the times, by model.
    """

    samples: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, Any]]
    failures: dict[str, list[dict[str, Any]]]
    timings: dict[str, list[dict[str, Any]]]
    faults: list[str]
    files: Callable[[str], Path]
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)


def nothing_sampled(root: Path, index: Index) -> UserError:
    """Return the error of a run without samples, with what became of those that are recorded."""
    if index.faults:
        return UserError(
            f"{root}: no sample of it is there; {index.faults[0]}"
            f"{' and others' if len(index.faults) > 1 else ''}; sample again with: run"
        )
    said = Counter(
        str(record["message"])
        for records in index.failures.values()
        for record in records[-1:]
        if record.get("stage") == "sample"
    )
    if said:
        ((often, times),) = said.most_common(1)
        return UserError(
            f"{root}: no sample could be made; {times} of {said.total()} failed with: {often}; "
            f"the others are told by: status {root}"
        )
    return UserError(f"{root}: nothing has been sampled yet; start with: run")


class RunStore:
    """One run folder."""

    def __init__(self, root: Path, manifest: dict[str, Any]) -> None:
        self.root = root
        self.manifest = manifest
        self.blobs = Blobs(root / "blobs")
        self._writer = RecordWriter(root / "records")

    @classmethod
    def open(cls, root: Path) -> "RunStore":
        """Open a run that is there.

        Raises:
            UserError: The folder is missing, no run, or of another version.
        """
        path = root / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{root}: not a run folder: there is no {MANIFEST} in it") from None
        except NotADirectoryError:
            raise UserError(f"{root}: expected a run folder, got a file") from None
        except (ValueError, OSError) as fault:
            raise UserError(f"{path}: cannot be read: {fault}") from None
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            got = manifest.get("schema") if isinstance(manifest, dict) else "no mapping"
            raise UserError(f"{path}: expected a manifest of schema {SCHEMA}, got {got}")
        return cls(root, manifest)

    @classmethod
    def create(
        cls, root: Path, manifest: dict[str, Any], prompts: Sequence[PromptRecord]
    ) -> "RunStore":
        """Freeze a manifest in a new folder, or open the folder if the same is frozen there.

        Raises:
            UserError: The folder holds other files, or another plan (it says what changed).
        """
        if (root / MANIFEST).exists():
            store = cls.open(root)
            changes = list(_changes(store.manifest["frozen"], manifest["frozen"]))
            if changes:
                more = len(changes) - _MAX_CHANGES
                shown = changes[:_MAX_CHANGES] + ([f"and {more} more"] if more > 0 else [])
                raise UserError(
                    f"{root}: holds a run that was frozen with another plan; give another --out, "
                    "or none. Changed since:\n  " + "\n  ".join(shown)
                )
            return store
        if root.exists() and not _is_fresh(root):
            raise UserError(f"{root}: exists and is not a run folder; give another --out")
        root.mkdir(parents=True, exist_ok=True)
        # A worker that died here may have left the prompts of another plan: they are replaced.
        lines = "".join(_prompt_line(prompt) for prompt in prompts)
        os.replace(_temporary(root / PROMPTS, lines.encode("utf-8")), root / PROMPTS)
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        _publish(root / MANIFEST, text.encode("utf-8"))
        # Another worker may have been first: what lies there now is what holds.
        return cls.create(root, manifest, prompts)

    def prompts(self) -> list[PromptRecord]:
        """Return the frozen prompts in plan order."""
        path = self.root / PROMPTS
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            return [PromptRecord(**json.loads(line)) for line in lines if line]
        except (OSError, ValueError, TypeError) as fault:
            raise UserError(f"{path}: cannot be read: {fault}") from None

    def index(self) -> Index:
        """Read all records; a sample or score whose file is gone does not count."""
        read = read_records(self.root / "records")
        present = self.blobs.names()
        faults = list(read.faults)
        samples: dict[str, dict[str, Any]] = {}
        scores: dict[str, dict[str, Any]] = {}
        failures: dict[str, list[dict[str, Any]]] = defaultdict(list)
        timings: dict[str, list[dict[str, Any]]] = defaultdict(list)
        beside: dict[str, dict[str, Any]] = {}
        for record in read.records:
            if record["kind"] == "sample" and record["blob"] not in present:
                faults.append(f"{self.blobs.path(record['blob'])}: file of a sample is missing")
            elif record["kind"] == "sample":
                # Two workers may both have made it; the choice must not depend on file names.
                known = samples.setdefault(record["key"], record)
                if record["blob"] < known["blob"]:
                    samples[record["key"]] = record
            elif record["kind"] == "score" and (gone := feature_names(record) - present):
                faults.append(f"{self.blobs.path(min(gone))}: features of a sample are missing")
            elif record["kind"] == "score":
                scores.setdefault(record["key"], record)
            elif record["kind"] == "failure":
                failures[record["item_id"]].append(record)
            elif record["kind"] == "timing":
                timings[record["item_id"]].append(record)
            elif record["kind"] == "beside":
                beside.setdefault(record["model"], record)
        return Index(
            samples=samples,
            scores=scores,
            failures=dict(failures),
            timings={cell: _whole(records) for cell, records in timings.items()},
            faults=faults,
            files=self.blobs.path,
            beside=beside,
        )

    def add_samples(self, records: Iterable[Mapping[str, Any]], contents: list[bytes]) -> None:
        """Store samples: first their files, durably, then their records."""
        names = self.blobs.put(contents, suffix_of)
        common = {"kind": "sample", "status": "ok", "at": now()}
        self._writer.append(
            [
                {**common, "blob": name, "bytes": len(data), **record}
                for record, name, data in zip(records, names, contents, strict=True)
            ]
        )

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records of any other kind."""
        self._writer.append(records)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other workers from writing tables and report at the same time."""
        with (self.root / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when a process dies
            yield

    def close(self) -> None:
        """Close the record file."""
        self._writer.close()


def _whole(timings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    newest = sorted(timings, key=lambda r: (str(r["at"]), len(r["seconds"])), reverse=True)
    return [record for record in newest if record["status"] == "ok"] or newest[:1]


def _prompt_line(prompt: PromptRecord) -> str:
    record = {
        "prompt_id": prompt.prompt_id,
        "text": prompt.text,
        "task": prompt.task,
        "metadata": dict(prompt.metadata),
    }
    return canonical_json(record) + "\n"


def now() -> str:
    """Return the time as records and manifests spell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_fresh(root: Path) -> bool:
    """Say whether a folder is empty, or holds only what a worker leaves that dies at once."""
    return root.is_dir() and all(
        path.name == PROMPTS or path.suffix == ".tmp" for path in root.iterdir()
    )


def _temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    write_file(temporary, data)
    return temporary


def _publish(path: Path, data: bytes) -> None:
    """Make a file appear whole, unless it is there already."""
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as fault:
        if fault.errno not in _NO_HARD_LINKS:
            raise
        # Such file systems cannot say who was first; two first workers freeze the same plan.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def frozen_suite(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved suite that a run freezes.

    Gates change no sample. Their key stays, empty, as in runs from before there were any.
    """
    return {key: value for key, value in data.items() if key not in UNFROZEN} | {"gates": {}}


def _changes(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """Say what differs between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{at}.{key}" if at else key
            yield from _changes(old.get(key), new.get(key), inner)
    elif old != new:
        yield f"{at}: was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
