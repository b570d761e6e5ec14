"""Which weights a model entry means: found and checked at the plan, without torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.canonical import digest_of
from rcm_bench.checkpoints.files import Checkpoint, find_checkpoint, find_path
from rcm_bench.checkpoints.fit import check_fit
from rcm_bench.checkpoints.layouts import diffusers_names, layout_of
from rcm_bench.checkpoints.lora import check_lora, find_lora
from rcm_bench.checkpoints.second_time import check_told, second_shapes
from rcm_bench.diffusion.digests import files_digest, remembered_digest
from rcm_bench.diffusion.families import Family, named_size, parameters, size_of
from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.diffusion.single_file import SingleFile, find_single
from rcm_bench.diffusion.source import (
    Source,
    configuration_files,
    find_source,
    part_files,
    read_json,
)
from rcm_bench.diffusion.student_fit import check_config, check_student
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.types import ModelContext
from rcm_bench.weights_files import read_header

RANDOM = "random"
_PARTS = ("vae", "text_encoder", "transformer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The resolved weights of a model entry.

    Args:
        source: The pipeline; None for random weights.
        config: Configuration of the transformer; that of the published size where the pipeline
            is not on this machine.
        expected: Shapes of the transformer by diffusers' name; empty where they are not known.
        student: Weights in place of the pipeline's transformer.
        lora: A LoRA file.
        pipeline: Name of diffusers' pipeline class.
        lost: A student's weights that are not there yet; None where all are.
        single: A file that holds the transformer, and perhaps the autoencoder.
    """

    source: Source | None
    config: Mapping[str, Any]
    expected: Mapping[str, list[int]]
    student: Checkpoint | None
    lora: Path | None
    pipeline: str
    lost: str | None = None
    single: SingleFile | None = None

    @property
    def root(self) -> Path | None:
        """Folder of the pipeline, if there is one."""
        return None if self.source is None else self.source.root

    def size(self, family: Family) -> str | None:
        """Return the published size; None where it is another, or nothing here says it."""
        source = self.source
        if source is not None and source.root is None and named_size(family, source.name) is None:
            return None
        return size_of(family, self.config)

    def missing(self) -> list[str]:
        """Say what has to be brought to this machine before a run."""
        told = (self.source.missing if self.source else None, self.lost)
        return [text for text in told if text is not None]

    def identity(self, place: str) -> dict[str, Any]:
        """Return digests of all weights that decide a sample.

        What is not on this machine stands under its name: for a plan, since no run starts.
        """
        if self.source is None:
            return {"transformer": f"{RANDOM}-2", "vae": f"{RANDOM}-1", "text_encoder": RANDOM}
        if self.root is None:
            named = digest_of({"hub": self.source.name, "revision": self.source.revision})
            parts = dict.fromkeys(_PARTS, named)
            if self.single is not None:
                parts["transformer"] = files_digest([self.single.path])
        else:
            files = {
                part: [self.single.path]
                if self.single is not None and self.single.has(part)
                else part_files(self.root / part, place)
                for part in _PARTS
            }
            parts = {part: files_digest(own) for part, own in files.items()}
            parts["configuration"] = files_digest(configuration_files(self.root))
        if self.student is not None:
            parts["transformer"] = self.student.digest()
        elif self.lost is not None:
            parts["transformer"] = digest_of(self.lost)
        if self.lora is not None:
            parts["lora"] = remembered_digest(self.lora)
        return parts


def resolve(
    settings: DiffusionSettings,
    family: Family,
    context: ModelContext,
    pickles: Collection[str],
) -> Weights:
    """Find all weights of a model entry and check them as far as headers go.

    Raises:
        UserError: Something is missing, damaged, of another family, or does not fit.
    """
    place = context.place
    if settings.weights == RANDOM:
        return _random(settings, family, place)
    if settings.architecture is not None and settings.transformer is None:
        raise UserError(
            f"{place}.architecture: belongs to 'weights: random', or to a 'transformer' of another "
            "size than the folder's"
        )
    single = _single(settings, family, context)
    inside = [part for part in _PARTS if single is not None and single.has(part)]
    source = find_source(
        settings.config or settings.weights,
        settings.revision,
        family,
        context.folder,
        place,
        inside,
        "weights" if single is None else "config",
    )
    config = _config(source, family)
    # What a single file holds is known once diffusers has converted it: checked when it is read.
    expected = {} if "transformer" in inside else _expected(source, place)
    own = f"{place}.weights: {source.root}"
    check_told(expected, settings.second_time, own)
    folder = dict(expected)
    if settings.second_time is not None:
        expected |= second_shapes(expected, family.time_embedding)
    if settings.architecture is not None:
        # Shapes of another size are known once the network is built: checked when it is read.
        config, expected = _other_size(settings, family, config, place), {}
    pipeline = family.pipelines[0]
    if source.root is not None:
        pipeline = str(read_json(source.root / "model_index.json", place)["_class_name"])
    elif int(config.get("in_channels", 16)) == 17:
        pipeline = family.pipelines[-1]
    student = lost = None
    at = f"{place}.transformer"
    if settings.transformer is None:
        if settings.prefix is not None:
            raise UserError(f"{place}.prefix: belongs to 'transformer', which is not given")
        if not inside:
            check_fit(expected, folder, own)
    elif find_path(settings.transformer, context.folder) is None:
        size = f"about {2 * parameters(config) / 1e9:.1f} GB as bfloat16"
        where = f"neither in {context.folder} nor here"
        lost = f"{at}: {settings.transformer}: no such file ({size}), {where}"
    else:
        student = find_checkpoint(settings.transformer, context.folder, at, pickles)
        _check_student(student, expected, family, settings)
        if source.root is not None or settings.architecture is not None:
            check_config(student.path, config, at)
    return Weights(
        source=source,
        config=config,
        expected=expected,
        student=student,
        lora=_lora(settings, family, context, expected),
        pipeline=pipeline,
        lost=lost,
        single=single,
    )


def _single(
    settings: DiffusionSettings, family: Family, context: ModelContext
) -> SingleFile | None:
    """Look at weights in a single file; None where there is none."""
    place = context.place
    single = find_single(settings.weights, settings.config, context.folder, place)
    if single is None:
        return None
    if text := single.names["text"]:
        raise UserError(
            f"{single.where}: {len(text)} tensors of a text encoder ({', '.join(text[:3])}, ...): "
            f"diffusers reads that of {family.title} from no single file; take them out, it comes "
            "from 'config'"
        )
    if settings.second_time is not None and settings.transformer is None:
        raise UserError(
            f"{place}.second_time: diffusers reads no second time embedding from a single file; "
            "name it under 'transformer'"
        )
    if not single.names["main"]:
        raise UserError(f"{single.where}: expected the tensors of {family.transformer}, got none")
    return single


def _architecture(settings: DiffusionSettings, family: Family, place: str) -> Mapping[str, Any]:
    size = settings.architecture or "none"
    if size not in family.architectures:
        what = f"size of {family.title}"
        raise unknown_name(f"{place}.architecture", what, size, family.architectures)
    return family.architectures[size]


def _other_size(
    settings: DiffusionSettings, family: Family, own: Mapping[str, Any], place: str
) -> Mapping[str, Any]:
    """Return the configuration of a size that takes what the folder's own network takes."""
    config = _architecture(settings, family, place)
    for key in ("in_channels", "out_channels", family.text_width):
        if config[key] != own.get(key):
            raise UserError(
                f"{place}.architecture: expected {key} {own.get(key)} as the folder's network has, "
                f"got '{settings.architecture}' with {config[key]}"
            )
    return config


def _random(settings: DiffusionSettings, family: Family, place: str) -> Weights:
    config = _architecture(settings, family, place)
    for key in ("transformer", "lora", "prefix", "revision"):
        if getattr(settings, key) is not None:
            raise UserError(f"{place}.{key}: does not go with 'weights: random'")
    last = int(config["in_channels"]) == 17
    pipeline = family.pipelines[-1 if last else 0]
    return Weights(
        source=None, config=config, expected={}, student=None, lora=None, pipeline=pipeline
    )


def _config(source: Source, family: Family) -> Mapping[str, Any]:
    if source.root is not None:
        return read_json(source.root / "transformer" / "config.json", source.name)
    size = named_size(family, source.name) or next(iter(family.architectures))
    return family.architectures[size]


def _expected(source: Source, place: str) -> dict[str, list[int]]:
    if source.root is None:
        return {}
    shapes: dict[str, list[int]] = {}
    for file in part_files(source.root / "transformer", place):
        tensors = read_header(file, f"{place}.weights").tensors
        shapes |= {name: list(tensor["shape"]) for name, tensor in tensors.items()}
    return shapes


def _check_student(
    student: Checkpoint,
    expected: Mapping[str, Sequence[int]],
    family: Family,
    settings: DiffusionSettings,
) -> None:
    shapes = student.shapes()
    if shapes is None or not expected:
        return  # a pickle, or a pipeline that is missing: checked when it is read
    prefix, where = settings.prefix, f"{student.place}: {student.path}"
    names = diffusers_names(shapes, family.name, layout_of(shapes, prefix), prefix)
    found = {new: shapes[old] for old, new in names.items()}
    check_student(found, expected, family, settings.second_time, where)


def _lora(
    settings: DiffusionSettings,
    family: Family,
    context: ModelContext,
    expected: Mapping[str, Sequence[int]],
) -> Path | None:
    place = f"{context.place}.lora"
    path = find_lora(settings.lora, context.folder, context.place)
    if path is not None and expected:
        check_lora(path, family.name, expected, place)
    return path
