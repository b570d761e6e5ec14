"""Where a pipeline's weights lie: a folder, or the hub's cache; nothing is ever downloaded."""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.diffusion.families import (
    AUTOENCODER,
    VAE,
    VAE_PARAMETERS,
    Family,
    named_size,
    parameters,
)
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PARTS = ("text_encoder", "transformer", "vae")
ENCODERS = ("T5EncoderModel", "UMT5EncoderModel")
_TOKENIZERS = ("tokenizer.json", "spiece.model")
_SIZES = ("patch_size", "num_attention_heads", "attention_head_dim", "num_layers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A pipeline in diffusers' layout.

    Args:
        name: As the suite says.
        root: The folder, or None where the hub's cache does not have it.
        missing: What is missing and how to get it; None where all is there.
        revision: Commit of a hub id.
    """

    name: str
    root: Path | None
    missing: str | None = None
    revision: str | None = None


def find_source(
    name: str,
    revision: str | None,
    family: Family,
    folder: Path,
    place: str,
    elsewhere: Collection[str] = (),
    key: str = "weights",
) -> Source:
    """Find a pipeline of a family given as a folder or as a hub id with its commit.

    Args:
        name: Folder (relative to the suite's folder or to the working folder) or hub id.
        revision: Commit of a hub id.
        family: What it should be.
        folder: Folder of the suite.
        place: File, line and key, for messages.
        elsewhere: Parts whose weights are not taken from it.
        key: Which key of the entry names it.

    Raises:
        UserError: There is no such folder, the hub id has no pinned commit, or it is a file.
    """
    source = locate(name, revision, folder, place, f" ({_size(family, name)})", key)
    if source.root is not None:
        check_pipeline(source.root, family, place, elsewhere)
    return source


def locate(
    name: str,
    revision: str | None,
    folder: Path,
    place: str,
    size: str = "",
    key: str = "weights",
) -> Source:
    """Find any pipeline given as a folder or as a hub id with its commit; looks into no file.

    Args:
        name: Folder (relative to the suite's folder or to the working folder) or hub id.
        revision: Commit of a hub id.
        folder: Folder of the suite.
        place: File, line and key, for messages.
        size: What there is to get, for the message where it is missing.
        key: Which key of the entry names it.

    Raises:
        UserError: There is no such folder, the hub id has no pinned commit, or it is a file.
    """
    for path in (folder / name, Path(name)):
        if path.is_dir():
            return Source(name=name, root=path)
        if path.is_file():
            raise UserError(
                f"{place}.{key}: {path}: expected a folder in diffusers' layout or a hub id, got "
                "a file; the weights of a transformer alone belong under 'transformer'"
            )
    if not _HUB_ID.fullmatch(name):
        raise UserError(
            f"{place}.{key}: {name}: no such folder, neither in {folder} nor in {Path.cwd()}"
        )
    snapshots = hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    if revision is None or not _COMMIT.fullmatch(revision):
        got = "none" if revision is None else f"'{revision}'"
        raise UserError(
            f"{place}.revision: expected the commit of '{name}' on the hub (40 hexadecimal "
            f"digits), got {got}; a branch may change under the same name{_there(snapshots)}"
        )
    root = snapshots / revision
    if not (root / "model_index.json").is_file():
        said = f"{name} at {revision[:12]} is not on this machine{size}{_there(snapshots)}; get it"
        command = f"hf download {name} --revision {revision} --exclude '*.pt' '*.pth' 'examples/*'"
        return Source(name=name, root=None, missing=f"{said}: {command}", revision=revision)
    return Source(name=name, root=root, revision=revision)


def _there(snapshots: Path) -> str:
    """Say which commits of a hub id are on this machine."""
    there = sorted(p.name for p in snapshots.glob("*") if (p / "model_index.json").is_file())
    return f"; on this machine: {', '.join(there)}" if there else ""


def hub_cache() -> Path:
    """Return the hub's cache folder, found as huggingface_hub finds it."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given)
    home = os.environ.get("HF_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home) if home else cache / "huggingface") / "hub"


def _size(family: Family, name: str) -> str:
    """Say how large a published pipeline is, from its number of parameters."""
    size = named_size(family, name)
    count = parameters(family.architectures[size]) if size else 0.0
    count += family.text_parameters + VAE_PARAMETERS
    return f"about {2 * count / 1e9:.0f} GB as bfloat16, twice that where stored as float32"


def check_pipeline(root: Path, family: Family, place: str, elsewhere: Collection[str] = ()) -> None:
    """Refuse a folder of another family, one with parts missing, and damaged files.

    Args:
        root: The folder.
        family: What it should be.
        place: File, line and key, for messages.
        elsewhere: Parts whose weights are not taken from it.

    Raises:
        UserError: Says what is wrong.
    """
    index = read_json(root / "model_index.json", place)
    if index.get("_class_name") not in family.pipelines:
        raise UserError(
            f"{place}.weights: {root}: expected {family.title} ({' or '.join(family.pipelines)}), "
            f"got {index.get('_class_name')}"
        )
    for part in _PARTS:
        config = read_json(root / part / "config.json", place)
        expected = family.transformer if part == "transformer" else None
        named = {"transformer": family.transformer, "vae": AUTOENCODER}.get(part)
        if named and config.get("_class_name") != named:
            raise UserError(
                f"{place}.weights: {root / part}: expected {named}, got {config.get('_class_name')}"
            )
        needed = (*_SIZES, "in_channels", "out_channels", family.text_width) if expected else ()
        if lacking := [key for key in needed if key not in config]:
            raise UserError(
                f"{place}.weights: {root / part / 'config.json'}: expected all keys of {expected}, "
                f"missing {', '.join(lacking)}"
            )
        for file in () if part in elsewhere else part_files(root / part, place):
            read_header(file, f"{place}.weights")
    channels = int(read_json(root / "transformer" / "config.json", place)["out_channels"])
    own = read_json(root / "vae" / "config.json", place).get("z_dim", VAE["z_dim"])
    if own != channels:
        raise UserError(
            f"{place}.weights: {root}: expected an autoencoder of {channels} channels as the "
            f"transformer has, got z_dim {own}"
        )
    encoder = index.get("text_encoder") or [None, None]
    if encoder[1] not in ENCODERS:
        raise UserError(
            f"{place}.weights: {root}: expected a text encoder of class {' or '.join(ENCODERS)}, "
            f"got {encoder[1]}"
        )
    if not any((root / "tokenizer" / name).is_file() for name in _TOKENIZERS):
        raise UserError(
            f"{place}.weights: {root / 'tokenizer'}: expected {' or '.join(_TOKENIZERS)}, got none"
        )


def configuration_files(root: Path) -> list[Path]:
    """Return what decides a sample beside weights and the transformer's own configuration."""
    tokenizer = sorted(path for path in (root / "tokenizer").iterdir() if path.is_file())
    return [root / "text_encoder" / "config.json", root / "vae" / "config.json", *tokenizer]


def read_json(path: Path, place: str) -> dict[str, Any]:
    """Read a JSON object of a pipeline's folder.

    Raises:
        UserError: It is missing or something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{place}.weights: {path}: no such file; expected a pipeline in diffusers' layout"
        ) from None
    except (OSError, ValueError) as fault:
        raise UserError(f"{place}.weights: {path}: cannot be read ({fault})") from None
    if not isinstance(value, dict):
        raise UserError(f"{place}.weights: {path}: expected a JSON object")
    return value


def part_files(folder: Path, place: str, key: str = "weights") -> list[Path]:
    """Return the safetensors files of one part of a pipeline, all that its index names.

    Args:
        folder: The part's folder.
        place: File, line and model entry, for messages.
        key: Which key of the entry named it.

    Raises:
        UserError: A file is missing, or only a pickle is there.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = set(read_json(index, place).get("weight_map", {}).values())
        files = [folder / Path(str(name)).name for name in sorted(names)]
        lost = [file.name for file in files if not file.is_file()]
        if lost:
            raise UserError(f"{place}.{key}: {folder}: missing {', '.join(lost)}")
        return files
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files
    pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt")]
    got = f"{len(files)} of them and no index" if files else (", ".join(pickles) or "none")
    raise UserError(
        f"{place}.{key}: {folder}: expected one .safetensors file or several with an index, "
        f"got {got}"
    )
