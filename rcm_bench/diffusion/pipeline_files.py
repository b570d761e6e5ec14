"""The files of any diffusers pipeline, found and checked at the plan, without torch.

Only safetensors are read, and no code: a folder that brings Python of its own is refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.diffusion.digests import files_digest
from rcm_bench.diffusion.shapes import check_sides
from rcm_bench.diffusion.single_file import SingleFile
from rcm_bench.diffusion.source import read_json
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

_OWN_KINDS = {"WanPipeline": "wan", "Cosmos2TextToImagePipeline": "cosmos"}
_OWN_KINDS |= {"Cosmos2VideoToWorldPipeline": "cosmos"}
_TEXT = (".json", ".txt", ".model")
_NO_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "Extractor", "Backend")
_LIBRARIES = ("diffusers", "transformers")
_SHARD = re.compile(r"-\d+-of-\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineFiles:
    """A pipeline's folder that has been looked at.

    Args:
        pipeline: Name of diffusers' pipeline class.
        weights: Its weights files, by part.
        others: Configurations, tokenizers and schedulers.
        kinds: Library and class of each part that has weights.
    """

    pipeline: str
    weights: dict[str, list[Path]]
    others: list[Path]
    kinds: dict[str, tuple[str, str]]

    def digests(self) -> dict[str, str]:
        """Return by part the digest of what decides a sample."""
        found = {part: files_digest(files) for part, files in self.weights.items()}
        return {**found, "configuration": files_digest(self.others)}

    def num_bytes(self) -> int:
        """Return the size of all weights on the disk."""
        return sum(file.stat().st_size for files in self.weights.values() for file in files)


def find_files(
    root: Path, variant: str | None, place: str, single: SingleFile | None = None
) -> PipelineFiles:
    """Look at a pipeline's folder: headers, shards, no pickles, no code.

    Args:
        root: The folder.
        variant: Which of several weights, such as ``fp16``.
        place: File, line and key, for messages.
        single: A file that holds some of its weights; the folder's own are not needed then.

    Raises:
        UserError: Says what is missing, damaged or not safe.
    """
    index = read_json(root / "model_index.json", place)
    pipeline = str(index.get("_class_name"))
    if (kind := _OWN_KINDS.get(pipeline)) is not None:
        raise UserError(f"{place}.kind: {root}: {pipeline} is sampled by 'kind: {kind}'")
    if code := sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py")):
        raise UserError(
            f"{place}.weights: {root}: brings Python code ({', '.join(code[:5])}); code from a "
            "folder never runs here"
        )
    weights: dict[str, list[Path]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    others = [root / "model_index.json"]
    for part, library, kind in _parts(index):
        folder = root / part
        if kind.endswith("Checker"):
            continue
        if not folder.is_dir():
            raise UserError(f"{place}.weights: {folder}: no such folder, but the index names it")
        others += sorted(p for p in folder.iterdir() if p.suffix in _TEXT and p.is_file())
        if kind.endswith(_NO_WEIGHTS):
            continue
        if library not in _LIBRARIES:
            raise UserError(
                f"{place}.weights: {root}: '{part}' is a {kind} of '{library}', expected one of "
                f"{' or '.join(_LIBRARIES)}; code from a folder never runs here"
            )
        kinds[part] = (library, kind)
        if single is not None and single.has(part, kind, root):
            continue
        weights[part] = _weights(folder, variant, place)
        for file in weights[part]:
            read_header(file, f"{place}.weights")
    return PipelineFiles(pipeline=pipeline, weights=weights, others=others, kinds=kinds)


def check_size(root: Path, resolution: Sequence[int], place: str) -> None:
    """Refuse sides that the pipeline's autoencoder cannot make; the pipeline may ask for more.

    Args:
        root: The folder.
        resolution: Height and width in pixels.
        place: File, line and key, for messages.

    Raises:
        UserError: A side is no multiple of what one latent position covers.
    """
    if not (root / "vae" / "config.json").is_file():
        return
    config = read_json(root / "vae" / "config.json", place)
    blocks = config.get("encoder_block_out_channels") or config.get("block_out_channels")
    if not isinstance(blocks, list) or not blocks:
        return
    check_sides(resolution, [2 ** (len(blocks) - 1)] * 2, place)


def _parts(index: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, library and class of each part that a pipeline has."""
    for part, value in index.items():
        if isinstance(value, list) and len(value) == 2 and all(value):
            yield part, str(value[0]), str(value[1])


def _weights(folder: Path, variant: str | None, place: str) -> list[Path]:
    """Return a part's safetensors files: one, or all that its index names."""
    middle = f".{variant}" if variant else ""
    for index in sorted(folder.glob(f"*.safetensors.index{middle}.json")):
        names = {Path(str(n)).name for n in read_json(index, place).get("weight_map", {}).values()}
        lost = sorted(name for name in names if not (folder / name).is_file())
        if lost:
            raise UserError(f"{place}.weights: {folder}: missing {', '.join(lost)}")
        return [folder / name for name in sorted(names)]
    whole = [p for p in sorted(folder.glob("*.safetensors")) if not _SHARD.search(p.name)]
    files = [p for p in whole if p.name.removesuffix(".safetensors").partition(".")[1:] ==
             (("." if variant else ""), variant or "")]  # fmt: skip
    if len(files) != 1:
        there = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".safetensors"))
        which = f" of variant '{variant}'" if variant else ""
        raise UserError(
            f"{place}.weights: {folder}: expected one .safetensors file{which} or shards with an "
            f"index, got {', '.join(there) or 'none'}"
        )
    return files
