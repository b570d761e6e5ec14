"""Prompt sets: the lab's grammar, GenEval's own, a text file, or JSON lines as GenEval has them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.canonical import canonical_json, digest_of, text_digest
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.geneval_prompts import official_files, official_metadata
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.text_files import read_text
from rcm_bench.types import PromptRecord

SETS = ("lab", "geneval", "vbench", "vbench_i2v")
VBENCH_SETS = ("vbench", "vbench_i2v")
NO_TASK = "prompt"
MAX_PROMPT_BYTES = 64 * 1024
_KEY_LENGTH = 16
_CONVENTION = ("preset", "fingerprint", "rewriting", "seeds")


def load_prompts(loaded: LoadedSuite) -> list[PromptRecord]:
    """Return the prompts of a suite, interleaved so that every head of the list is stratified.

    Raises:
        UserError: The set is unknown, the file is missing or malformed, or a prompt comes twice.
    """
    entry = loaded.suite.prompts
    if entry.dimensions is not None and entry.set not in VBENCH_SETS:
        raise UserError(f"{loaded.place('prompts', 'dimensions')}: belongs to 'set: vbench'")
    if entry.set is not None:
        if entry.set not in SETS:
            where = loaded.place("prompts", "set")
            raise unknown_name(where, "prompt set", entry.set, SETS)
        if entry.set in VBENCH_SETS:
            from rcm_bench.vbench.suite_prompts import suite_metadata

            return stratified(_records(suite_metadata(loaded), "prompts"))
        if entry.set == "geneval":
            return stratified(_records(_geneval_metadata(loaded), "prompts"))
        if entry.per_task is None:
            raise UserError(f"{loaded.place('prompts')}: set '{entry.set}' needs 'per_task'")
        return stratified(_records(lab_metadata(entry.per_task, entry.seed), "prompts"))
    assert entry.file is not None
    where = loaded.place("prompts", "file")
    if entry.per_task is not None:
        where = loaded.place("prompts", "per_task")
        raise UserError(f"{where}: belongs to 'set: lab'; a file gives its own prompts")
    path = loaded.folder("prompts", "file") / entry.file
    return stratified(_records(_paired(loaded, read_prompt_file(path, where), path), str(path)))


def _paired(loaded: LoadedSuite, records: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Pair prompts with what the models see of them, line by line; both are recorded."""
    name = loaded.suite.prompts.rewritten
    if name is None:
        return records
    where = loaded.place("prompts", "rewritten")
    other = loaded.folder("prompts", "rewritten") / name
    rewritten = [record["prompt"] for record in read_prompt_file(other, where)]
    if len(rewritten) != len(records):
        raise UserError(
            f"{where}: {other}: expected a line for each of the {len(records)} prompts in {path}, "
            f"got {len(rewritten)}"
        )
    return [r | {"rewritten": text} for r, text in zip(records, rewritten, strict=True)]


def _geneval_metadata(loaded: LoadedSuite) -> list[dict[str, Any]]:
    entry = loaded.suite.prompts
    for key, value in (("per_task", entry.per_task), ("seed", entry.seed or None)):
        if value is not None:
            where = loaded.place("prompts", key)
            raise UserError(f"{where}: belongs to 'set: lab'; GenEval's 553 prompts are fixed")
    return official_metadata()


def lab_metadata(per_task: int, seed: int) -> list[dict[str, Any]]:
    """Return the lab's prompts as GenEval's metadata records."""
    from rcm_distill.lab import grammar

    return [prompt.metadata() for prompt in grammar.prompt_set(per_task, seed)]


def check_lab_prompts(prompts: Sequence[PromptRecord], where: str, instead: str = "") -> None:
    """Refuse prompts that the laboratory's oracle cannot judge images by, before any is sampled.

    Args:
        prompts: The prompts of a suite.
        where: File, line and key of the benchmark.
        instead: What serves other prompts.

    Raises:
        UserError: Names the first that is not of the laboratory's grammar.
    """
    from rcm_distill.lab.grammar import parse

    for prompt in prompts:
        try:
            parse(prompt.text)
        except ValueError as fault:
            raise UserError(
                f"{where}: prompt {prompt.prompt_id}: the laboratory's oracle reads images of its "
                f"own prompts alone ({fault}){instead}"
            ) from None


def read_prompt_file(path: Path, where: str) -> list[dict[str, Any]]:
    """Read ``.txt`` (one prompt a line, empty lines left out) or ``.jsonl`` (GenEval's records).

    Raises:
        UserError: The file is missing, no UTF-8, or holds something else.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(f"{where}: expected a .txt or .jsonl file, got '{path.name}'")
    text = read_text(path, f"{where}: ")
    # Only \n ends a line: splitlines would also cut at characters that a prompt may hold.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UserError(f"{where}: {path}: holds no prompts")
    if path.suffix == ".txt":
        return [{"prompt": line} for _, line in numbered]
    return [_json_record(line, f"{path}:{number}") for number, line in numbered]


def _json_record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        canonical_json(record).encode("utf-8")
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{where}: expected one JSON object in a line: {fault}") from None
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise UserError(f"{where}: expected a JSON object with a text under 'prompt'")
    for key, owner in (("vbench", "'set: vbench'"), ("rewritten", "'prompts.rewritten'")):
        if key in record:
            raise UserError(f"{where}: key '{key}' belongs to {owner}")
    if not isinstance(record.get("tag", NO_TASK), str):
        raise UserError(f"{where}: expected text under 'tag', got {record['tag']!r}")
    return record


def _records(metadata: Sequence[dict[str, Any]], where: str) -> list[PromptRecord]:
    seen: dict[str, int] = {}
    records = []
    for index, record in enumerate(metadata):
        text = record["prompt"]
        size = len(text.encode("utf-8"))
        if not text.strip() or size > MAX_PROMPT_BYTES:
            raise UserError(
                f"{where}: prompt {index + 1}: expected 1 to {MAX_PROMPT_BYTES} bytes, got {size}"
            )
        if (first := seen.setdefault(digest_of(record), index)) != index:
            raise UserError(f"{where}: prompt {index + 1} repeats prompt {first + 1}: {text!r}")
        records.append(
            PromptRecord(
                prompt_id=f"{index:05d}-{text_digest(text)[:8]}",
                text=text,
                task=record.get("tag", NO_TASK),
                metadata=record if len(record) > 1 else {},
            )
        )
    return records


def stratified(prompts: Iterable[PromptRecord]) -> list[PromptRecord]:
    """Order prompts so that the first N of them hold every task in proportion, for every N."""
    by_task: dict[str, list[PromptRecord]] = defaultdict(list)
    for prompt in prompts:
        by_task[prompt.task].append(prompt)
    placed = [
        ((rank + 0.5) / len(members), order, prompt)
        for order, members in enumerate(by_task.values())
        for rank, prompt in enumerate(members)
    ]
    return [prompt for _, _, prompt in sorted(placed, key=lambda entry: entry[:2])]


def prompt_key(prompt: PromptRecord) -> str:
    """Return a digest of what a prompt asks for, whatever its place in its set."""
    whole = [prompt.text, prompt.task, canonical_json(dict(prompt.metadata))]
    return digest_of(whole)[:_KEY_LENGTH]


def convention_of(prompts: Sequence[PromptRecord]) -> dict[str, str]:
    """Return the named convention of a set, if it has one: preset, rewriting, seeds, mark."""
    mark = prompts[0].metadata.get("vbench") if prompts else None
    if mark is None and any("rewritten" in prompt.metadata for prompt in prompts):
        return {"rewriting": "file"}
    return {} if mark is None else {key: mark[key] for key in _CONVENTION}


def prompts_digest(prompts: Sequence[PromptRecord]) -> str:
    """Return a digest of the prompt set, whatever its order in a run."""
    rows = sorted((p.prompt_id, p.text, p.task, canonical_json(dict(p.metadata))) for p in prompts)
    return digest_of(rows)


def write_official(metadata: Sequence[dict[str, Any]], out: Path) -> list[Path]:
    """Write a prompt set in GenEval's own two files.

    Args:
        metadata: GenEval's records.
        out: Folder for ``generation_prompts.txt`` and ``evaluation_metadata.jsonl``.

    Returns:
        The files written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in official_files(metadata).items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
        written.append(out / name)
    return written
