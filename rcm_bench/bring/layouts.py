"""Folders of samples as they lie on disks: which file answers which prompt, and what is wrong.

``geneval``: ``<number>/metadata.jsonl`` beside ``<number>/samples/<number>.png``, as GenEval's own
scripts write it. ``vbench``: ``{prompt}-{number}.mp4``, as VBench looks for it. ``plain``:
``<line>-<number>.png`` (or .jpg, .mp4), line the place of the prompt in the suite's set, from 0.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from rcm_bench.bring.files import IMAGES, VIDEOS, shown
from rcm_bench.bring.prompts import match_record, number_of, quoted
from rcm_bench.types import PromptRecord
from rcm_bench.vbench.results import split_name

METADATA, SAMPLES = "metadata.jsonl", "samples"
_NUMBERED = re.compile(r"([0-9]+)\.(png|jpg|jpeg)", re.IGNORECASE)
_PLAIN = re.compile(r"([0-9]+)-([0-9]+)\.(png|jpg|jpeg|mp4)", re.IGNORECASE)
_IGNORED = re.compile(r"grid\.(png|jpg|jpeg)|Thumbs\.db", re.IGNORECASE)
_HINTED = 20


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        files: Files by prompt id and number, from 0.
        faults: What is wrong, a line each, paths relative to the folder.
    """

    files: dict[tuple[str, int], Path]
    faults: list[str]


def list_folder(
    layout: str, root: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]
) -> Listing:
    """Find the samples of a folder.

    Args:
        layout: ``"geneval"``, ``"vbench"`` or ``"plain"``.
        root: The folder.
        prompts: The suite's prompts.
        samples: How many samples of each prompt the suite asks for, by prompt id.
    """
    listing = _LAYOUTS[layout](root, prompts, samples)
    if not listing.files:
        return Listing({}, [_wrong_layout(layout, root), *listing.faults])
    return listing


def missing(
    listing: Listing, prompts: Sequence[PromptRecord], samples: Mapping[str, int]
) -> list[str]:
    """Say which samples are not there: whole prompts in one line, others one by one."""
    ordered = sorted(prompts, key=lambda prompt: prompt.prompt_id)
    lacking = {
        prompt.prompt_id: [
            k
            for k in range(samples[prompt.prompt_id])
            if (prompt.prompt_id, k) not in listing.files
        ]
        for prompt in ordered
    }
    gone = [p for p in ordered if len(lacking[p.prompt_id]) == samples[p.prompt_id]]
    said = []
    if gone:
        names = ", ".join(_spans([number_of(prompt) for prompt in gone]))
        said.append(f"{len(gone)} of {len(prompts)} prompts have no samples: prompt {names}")
    for prompt in ordered:
        absent, wanted = lacking[prompt.prompt_id], samples[prompt.prompt_id]
        if absent and len(absent) < wanted:
            numbers = ", ".join(_spans(absent))
            said.append(
                f"prompt {number_of(prompt)} {quoted(prompt.text)}: expected {wanted} samples, got "
                f"{wanted - len(absent)}; there is none for number {numbers}"
            )
    return said


def _geneval(root: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]) -> Listing:
    known = {(prompt.text, prompt.task): prompt for prompt in prompts}
    files: dict[tuple[str, int], Path] = {}
    faults: list[str] = []
    seen: dict[str, str] = {}
    for folder in _numbered_folders(root):
        prompt, fault = _prompt_of(folder, known)
        if prompt is None:
            faults.append(f"{shown(folder.name)}/{METADATA}: {fault}")
            continue
        if (first := seen.setdefault(prompt.prompt_id, folder.name)) != folder.name:
            faults.append(f"{folder.name}: is of the same prompt as {first}")
            continue
        found, said = _numbered_images(folder)
        faults += said
        wanted = samples[prompt.prompt_id]
        if len(found) > wanted:
            faults.append(
                f"{folder.name}/{SAMPLES}: expected {wanted} images, got {len(found)}; the suite "
                "says how many under prompts.samples_per_prompt"
            )
        # Their numbers name them and no more: GenEval's own evaluation takes any.
        for place, (_, path) in enumerate(sorted(found.items())[:wanted]):
            files[prompt.prompt_id, place] = path
    return Listing(files, faults)


def _numbered_folders(root: Path) -> list[Path]:
    found = [p for p in root.iterdir() if p.name.isascii() and p.name.isdigit() and p.is_dir()]
    return sorted(found, key=lambda path: (int(path.name), path.name))


def _prompt_of(
    folder: Path, known: Mapping[tuple[str, str], PromptRecord]
) -> tuple[PromptRecord | None, str]:
    """Return the prompt that a folder's metadata name, or what is wrong with them."""
    try:
        record = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(METADATA)
    except FileNotFoundError:
        return None, "no such file; GenEval reads a folder's prompt from it"
    except (OSError, ValueError, RecursionError):
        return None, "expected one JSON object with a text under 'prompt'"
    return match_record(record, known)


def _numbered_images(folder: Path) -> tuple[dict[int, Path], list[str]]:
    inner = folder / SAMPLES
    if not inner.is_dir():
        return {}, [f"{folder.name}/{SAMPLES}: no such folder"]
    found: dict[int, Path] = {}
    faults = []
    for path in sorted(inner.iterdir()):
        name = f"{folder.name}/{SAMPLES}/{shown(path.name)}"
        if path.name.startswith(".") or _IGNORED.fullmatch(path.name):
            continue
        match = _NUMBERED.fullmatch(path.name)
        if match is None or not path.is_file():
            faults.append(f"{name}: expected images named by a number, such as 00000.png")
        elif (other := found.setdefault(int(match.group(1)), path)) != path:
            faults.append(f"{name}: has the same number as {shown(other.name)}")
    return found, faults


def _vbench(root: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]) -> Listing:
    known = {prompt.text: prompt for prompt in prompts}

    def key_of(name: str) -> tuple[PromptRecord | None, int, str]:
        text, index = split_name(name)
        if index is None:
            return None, 0, "expected {prompt}-{number}.mp4"
        return known.get(text), index, "is of no prompt of the suite"

    return _flat(root, samples, key_of, VIDEOS, known)


def _plain(root: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]) -> Listing:
    known = {number_of(prompt): prompt for prompt in prompts}

    def key_of(name: str) -> tuple[PromptRecord | None, int, str]:
        match = _PLAIN.fullmatch(name)
        if match is None:
            return None, 0, "expected <line>-<number>.png, .jpg or .mp4, such as 00012-3.png"
        line = int(match.group(1))
        return known.get(line), int(match.group(2)), f"the suite has no prompt {line}"

    return _flat(root, samples, key_of, (*IMAGES, *VIDEOS), {})


def _flat(
    root: Path,
    samples: Mapping[str, int],
    key_of: Callable[[str], tuple[PromptRecord | None, int, str]],
    suffixes: Sequence[str],
    texts: Mapping[str, Any],
) -> Listing:
    """List a folder whose files say in their names what they are of."""
    files: dict[tuple[str, int], Path] = {}
    faults: list[str] = []
    for path in sorted(root.iterdir()):
        name = shown(path.name)
        if path.name.startswith(".") or _IGNORED.fullmatch(path.name):
            continue
        if not path.is_file() or path.suffix.lower() not in suffixes:
            faults.append(f"{name}: expected {', '.join(suffixes)} and nothing else")
            continue
        prompt, index, fault = key_of(path.name)
        if prompt is None:
            hint = _nearest(path.name, texts) if len(faults) < _HINTED else ""
            faults.append(f"{name}: {fault}{hint}")
        elif index >= samples[prompt.prompt_id]:
            last = samples[prompt.prompt_id] - 1
            faults.append(f"{name}: expected numbers from 0 to {last}, as the suite asks for")
        elif (other := files.setdefault((prompt.prompt_id, index), path)) != path:
            faults.append(f"{name}: is the same sample as {shown(other.name)}")
    return Listing(files, faults)


def _nearest(name: str, texts: Mapping[str, Any]) -> str:
    found = get_close_matches(split_name(name)[0], list(texts), n=1)
    return f"; did you mean {quoted(found[0])}?" if found else ""


_LAYOUTS: Mapping[str, Callable[[Path, Sequence[PromptRecord], Mapping[str, int]], Listing]] = {
    "geneval": _geneval,
    "vbench": _vbench,
    "plain": _plain,
}
_EXPECTED = {
    "geneval": f"00000/{METADATA} and 00000/{SAMPLES}/00000.png",
    "vbench": "{prompt}-0.mp4",
    "plain": "00000-0.png",
}


def _wrong_layout(layout: str, root: Path) -> str:
    """Say what was expected, and where it may lie instead."""
    said = f"holds no samples in layout '{layout}': expected {_EXPECTED[layout]}"
    inner = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    for name in _EXPECTED:
        for folder in (root, *inner):
            if (folder, name) != (root, layout) and _looks_like(name, folder):
                where = "it" if folder == root else f"its folder {shown(folder.name)}"
                return f"{said}; {where} looks like layout '{name}'"
    return said


def _looks_like(layout: str, folder: Path) -> bool:
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if layout == "geneval":
        return any((folder / n / METADATA).is_file() for n in names if n.isdigit())
    if layout == "plain":
        return any(_PLAIN.fullmatch(name) for name in names)
    return any(n.lower().endswith(VIDEOS) and split_name(n)[1] is not None for n in names)


def _spans(numbers: Sequence[int]) -> list[str]:
    """Spell ascending numbers, runs of them as ``3 to 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
