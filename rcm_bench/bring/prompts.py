"""Which prompt of a suite a record from elsewhere is of."""

from collections.abc import Mapping
from typing import Any

from rcm_bench.bring.files import shown
from rcm_bench.canonical import canonical_json
from rcm_bench.types import PromptRecord

_MAX_SHOWN = 60


def match_record(
    record: Mapping[str, Any], known: Mapping[tuple[str, str], PromptRecord]
) -> tuple[PromptRecord | None, str]:
    """Return the prompt of a GenEval record, or what is wrong with it.

    Args:
        record: ``{"tag", "include", ["exclude"], "prompt"}`` from outside.
        known: The suite's prompts by text and task.
    """
    text, task = record.get("prompt"), record.get("tag", "prompt")
    if not isinstance(text, str) or not isinstance(task, str):
        return None, "expected one JSON object with a text under 'prompt'"
    prompt = known.get((text, task)) or known.get((text, "prompt"))
    if prompt is None:
        return None, f"{quoted(text)} of task {quoted(task)} is no prompt of the suite"
    for key, wanted in prompt.metadata.items():
        if key != "rewritten" and canonical_json(record.get(key)) != canonical_json(wanted):
            return None, f"'{key}' differs from what the suite's prompts say of {quoted(text)}"
    return prompt, ""


def number_of(prompt: PromptRecord) -> int:
    """Return the place of a prompt in its set, from 0."""
    return int(prompt.prompt_id.partition("-")[0])


def quoted(text: str) -> str:
    """Return text from outside for a message: short, and printable."""
    short = text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
    return f"'{shown(short)}'"
