"""Networks from a single file by diffusers' own ``from_single_file``, with every key accounted for.

diffusers drops what it does not know, and leaves a network without what is not there; here both are
errors that list the keys. Nothing is downloaded: configurations come from a local folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import pipelines
from diffusers.loaders.single_file import load_single_file_sub_model
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import is_clip_model_in_single_file, is_t5_in_single_file
from safetensors import safe_open
from torch import Tensor

from rcm_bench.checkpoints.fit import check_fit
from rcm_bench.diffusion.quiet import quiet
from rcm_bench.diffusion.single_file import MAIN, NO_WEIGHTS, PREFIXES, SingleFile, group_of
from rcm_bench.errors import UserError


def read_network(single: SingleFile, kind: Any, config: Path, part: str, dtype: str | None) -> Any:
    """Return one of diffusers' networks from the file, every key of its group used.

    Args:
        single: The file.
        kind: Class of diffusers.
        config: Folder of the pipeline's configurations.
        part: Name of the part, which is its subfolder there.
        dtype: Of the weights; as in the file by default.

    Raises:
        UserError: Keys are missing, unexpected or misshapen, or diffusers reads no such network
            from a single file.
    """
    tensors = _fed(single, kind, config, part)
    with quiet():
        net = kind.from_single_file(
            tensors,
            config=str(config),
            subfolder=part,
            local_files_only=True,
            torch_dtype=None if dtype is None else getattr(torch, dtype),
        )
    return net.eval()


def _fed(single: SingleFile, kind: Any, config: Path, part: str) -> dict[str, Tensor]:
    """Return the tensors of a network as diffusers' converters expect them, checked."""
    with quiet(), init_empty_weights():
        empty = kind.from_config(kind.load_config(config, subfolder=part, local_files_only=True))
    expected = {name: list(value.shape) for name, value in empty.state_dict().items()}
    group = group_of(part)
    assert group is not None, "asked for what the file has"
    keys = [key for key in single.names[group] if not NO_WEIGHTS.fullmatch(key)]
    own = {_bare(key): key for key in keys}
    if len(own) < len(keys):
        twice = [key for key in keys if own[_bare(key)] != key]
        raise UserError(f"{single.where}: comes twice, under two prefixes: {', '.join(twice[:8])}")
    with safe_open(single.path, framework="pt") as file:
        shapes = {name: file.get_slice(key).get_shape() for name, key in own.items()}
        ways = [(own, shapes)]
        if set(shapes) != set(expected):  # some converters look for the prefix, some for none
            for given in (own, {key: key for key in keys}):
                marked = {name: shapes[_bare(key)] for name, key in given.items()}
                converted = _converted(single, kind, dict(empty.config), marked)
                ways += [] if converted is None else [(given, converted)]
        # Where no way fits, the message is of the one that the file is nearest to.
        given, found = min(ways, key=lambda way: len(set(way[1]) ^ set(expected)))
        check_fit(expected, found, single.where)
        return {name: file.get_tensor(key) for name, key in given.items()}


def _bare(key: str) -> str:
    return key.removeprefix(next((h for h in (MAIN, *PREFIXES["vae"]) if key.startswith(h)), ""))


def _converted(
    single: SingleFile, kind: Any, config: dict[str, Any], shapes: Mapping[str, Sequence[int]]
) -> dict[str, list[int]] | None:
    """Return names and shapes after diffusers' conversion, with what it drops under its own name.

    Every tensor of the file is stood for by one of its shape that holds its number and takes no
    memory, so that what a converter splits, joins, renames or drops is known without its tables.

    None where the converter breaks: each does in its own way on what it does not know.

    Raises:
        UserError: diffusers has no converter.
    """
    known = (base.__name__ for base in kind.__mro__)
    found = next((n for n in known if n in SINGLE_FILE_LOADABLE_CLASSES), None)
    if found is None:
        raise UserError(f"{single.where}: diffusers reads no {kind.__name__} from a single file")
    convert = SINGLE_FILE_LOADABLE_CLASSES[found]["checkpoint_mapping_fn"]
    try:
        with quiet():
            made = convert(checkpoint=_marks(shapes), config=config)
    except Exception:
        return None
    used = {number for value in made.values() for number in _numbers(value)}
    dropped = {name: list(shape) for n, (name, shape) in enumerate(shapes.items(), 2)
               if n not in used}  # fmt: skip
    return {name: list(value.shape) for name, value in made.items()} | dropped


def _marks(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return a tensor for each name that holds its number; 0 and 1 are what converters add."""
    return {
        name: torch.full((1,), number, dtype=torch.float64).expand(tuple(shape) or (1,))
        for number, (name, shape) in enumerate(shapes.items(), start=2)
    }


def _numbers(value: Tensor) -> set[int]:
    """Return the numbers along each axis: what is joined is joined along one."""
    array = value.numpy()
    axes = range(array.ndim)
    lines = [array[tuple(slice(None) if a == axis else 0 for a in axes)] for axis in axes]
    return {int(number) for line in lines or [array] for number in np.unique(line)}


def read_text_encoders(
    single: SingleFile, kinds: Mapping[str, Any], config: Path, dtype: str
) -> dict[str, Any]:
    """Return the text encoders that the file holds, all of its keys for them used.

    Args:
        single: The file.
        kinds: Classes of transformers, by part.
        config: Folder of the pipeline's configurations.
        dtype: Of the weights.

    Raises:
        UserError: Keys are missing, unexpected or misshapen.
    """
    keys = [key for key in single.names["text"] if not NO_WEIGHTS.fullmatch(key)]
    used: set[int] = set()
    nets, faults = {}, []
    with safe_open(single.path, framework="pt") as file:
        marks = _marks({key: file.get_slice(key).get_shape() for key in keys})
        for part, kind in kinds.items():
            net = _text_encoder(single, kind, marks, config, part, None)
            if net is None:
                continue
            used |= {n for v in net.state_dict().values() if not v.is_meta for n in _numbers(v)}
            net.tie_weights()  # T5's words are told once or twice
            lost = [name for name, value in net.state_dict().items() if value.is_meta]
            faults += [f"{part}: {len(lost)} missing: {', '.join(lost[:8])}"] if lost else []
            if not faults:
                tensors = {key: file.get_tensor(key) for key in keys}
                nets[part] = _text_encoder(single, kind, tensors, config, part, dtype)
                nets[part].tie_weights()
    extra = [key for number, key in enumerate(keys, start=2) if number not in used]
    faults += [f"{len(extra)} unexpected: {', '.join(extra[:8])}"] if extra else []
    if faults:
        raise UserError(f"{single.where}: does not fit the text encoders: {'; '.join(faults)}")
    return nets


def _text_encoder(
    single: SingleFile,
    kind: Any,
    tensors: dict[str, Tensor],
    config: Path,
    part: str,
    dtype: str | None,
) -> Any:
    """Return a text encoder by diffusers' loader; None where the file does not hold it."""
    t5 = kind.__name__ == "T5EncoderModel" and is_t5_in_single_file(tensors)
    if not (t5 or is_clip_model_in_single_file(kind, tensors)):
        return None
    try:
        with quiet():
            net = load_single_file_sub_model(
                library_name="transformers",
                class_name=kind.__name__,
                name=part,
                checkpoint=dict(tensors),
                pipelines=pipelines,
                is_pipeline_module=False,
                cached_model_config_path=str(config),
                local_files_only=True,
                torch_dtype=None if dtype is None else getattr(torch, dtype),
            )
        return net.eval()  # diffusers leaves T5 in training, with its dropout
    except (KeyError, RuntimeError, ValueError) as fault:
        first = " ".join(str(fault).split())
        raise UserError(f"{single.where}: {part}: does not fit: {first}") from None
