"""Building the networks: diffusers' classes, a student's weights, LoRA, random weights."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.checkpoints.files import Checkpoint, read_tensors
from rcm_bench.checkpoints.layouts import diffusers_names, layout_of
from rcm_bench.checkpoints.lora import check_lora, merge_lora
from rcm_bench.checkpoints.lora_metadata import adapter_alphas
from rcm_bench.diffusion.families import VAE, Family
from rcm_bench.diffusion.quiet import quiet
from rcm_bench.diffusion.source import part_files
from rcm_bench.diffusion.student_fit import check_student
from rcm_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rcm_bench.diffusion.single_file import SingleFile

_RANDOM_SEED = 0
_RANDOM_SCALE = 0.02


def from_folder(
    kind: Any, root: Path, part: str, dtype: str, place: str, variant: str | None = None
) -> Any:
    """Load one part of a pipeline's folder by its class's own ``from_pretrained``, strictly.

    Libraries fill what a file lacks with random numbers and go on; here that is an error.

    Args:
        kind: Class of diffusers or transformers.
        root: Folder of the pipeline.
        part: Subfolder.
        dtype: Of the weights.
        place: For messages.
        variant: Which of several weights, such as ``fp16``.

    Raises:
        UserError: Keys are missing, unexpected or misshapen.
    """
    import torch

    name = "dtype" if kind.__module__.startswith("transformers.") else "torch_dtype"
    try:
        with quiet():
            net, found = kind.from_pretrained(
                root,
                subfolder=part,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=variant,
                **{name: getattr(torch, dtype)},
            )
    except (RuntimeError, ValueError, OSError) as fault:
        raise UserError(f"{place}.weights: {root / part}: cannot be loaded: {fault}") from None
    faults = [
        f"{len(keys)} {what}: {', '.join(map(str, list(keys)[:8]))}"
        for what in ("missing", "unexpected", "mismatched")
        if (keys := found.get(f"{what}_keys"))
    ]
    if faults:
        raise UserError(f"{place}.weights: {root / part}: does not fit: {'; '.join(faults)}")
    return net.eval()


def load_vae(
    root: Path | None,
    dtype: str,
    place: str,
    decoder: str = "diffusers",
    single: "SingleFile | None" = None,
) -> Any:
    """Return the autoencoder of a folder, or one with random weights.

    Args:
        root: Folder of the pipeline; None for random weights.
        dtype: Of the autoencoder.
        place: For messages.
        decoder: ``diffusers`` for its own, else how ours computes; it starts from float32, so that
            what is summed before it is rounded is rounded once.
        single: A file that may hold it in place of the folder.

    Raises:
        UserError: It does not fit, or is no autoencoder that our decoder knows.
    """
    import torch
    from diffusers import AutoencoderKLWan

    own = decoder == "diffusers"
    wanted = dtype if own else "float32"
    if root is not None and single is not None and single.has("vae"):
        from rcm_bench.diffusion.single_file_weights import read_network

        vae = read_network(single, AutoencoderKLWan, root, "vae", wanted)
    elif root is not None:
        vae = from_folder(AutoencoderKLWan, root, "vae", wanted, place)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_RANDOM_SEED)
            kind: Any = AutoencoderKLWan
            vae = kind(**VAE).eval()
            with quiet():
                vae = vae.to(getattr(torch, dtype)) if own else vae
    if own:
        return vae
    from rcm_bench.diffusion.autoencoder import FastAutoencoder

    try:
        return FastAutoencoder(vae, getattr(torch, dtype), decoder)  # type: ignore[arg-type]
    except ValueError as fault:
        raise UserError(f"{place}.decoder: {fault}; use 'decoder: diffusers'") from None


def random_transformer(
    family: Family,
    config: Mapping[str, Any],
    dtype: str,
    device: str = "cpu",
    second_time: bool = False,
) -> Any:
    """Return a network of real shapes with random weights: for throughput, never for quality.

    They are drawn in float32, so that networks of two dtypes have the same weights but for
    rounding, and where they will stay: a CPU draws 14 billion of them in minutes.

    Args:
        family: Family of the network.
        config: Its configuration.
        dtype: Of the weights.
        device: Where to draw them.
        second_time: Whether it is told two times.
    """
    import torch

    net = _empty(family, config, second_time)
    rng = torch.Generator(device).manual_seed(_RANDOM_SEED)
    state = {}
    for name, value in net.state_dict().items():
        tensor = torch.empty(value.shape, device=device)
        if value.ndim > 1:
            tensor.normal_(0, _RANDOM_SCALE, generator=rng)
        else:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
        kept = any(part in name.split(".") for part in net._keep_in_fp32_modules or ())
        state[name] = tensor if kept else tensor.to(getattr(torch, dtype))
    return _filled(net, state, dtype)


def network_shapes(
    family: Family, config: Mapping[str, Any], second_time: bool
) -> dict[str, list[int]]:
    """Return shapes of a configuration's tensors by name; nothing is allocated."""
    net = _empty(family, config, second_time)
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def transformer_of(
    family: Family,
    config: Mapping[str, Any],
    state: "Mapping[str, Tensor]",
    dtype: str,
    second_time: bool = False,
) -> Any:
    """Return a network with the given weights, which have been checked against it."""
    return _filled(_empty(family, config, second_time), state, dtype)


def _empty(family: Family, config: Mapping[str, Any], second_time: bool) -> Any:
    """Build the network without memory for its weights."""
    import diffusers
    from accelerate import init_empty_weights

    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    with init_empty_weights(include_buffers=False):
        net = getattr(diffusers, family.transformer)(**arguments)
    if second_time:
        from rcm_bench.diffusion.second_time import add_second_time

        return add_second_time(net, family)
    return net


def _filled(net: Any, state: "Mapping[str, Tensor]", dtype: str) -> Any:
    """Give a network its weights; what diffusers keeps in float32 stays there."""
    import torch

    kept = tuple(net._keep_in_fp32_modules or ())
    cast = {
        name: value.to(
            torch.float32 if any(p in kept for p in name.split(".")) else getattr(torch, dtype)
        )
        for name, value in state.items()
    }
    net.load_state_dict(cast, strict=True, assign=True)
    return net.requires_grad_(False).eval()


def student_tensors(
    checkpoint: Checkpoint,
    family: Family,
    prefix: str | None,
    expected: Mapping[str, list[int]],
    second_time: str | None = None,
) -> "dict[str, Tensor]":
    """Read a student's tensors under diffusers' names and in diffusers' shapes.

    Args:
        checkpoint: Where they lie.
        family: Family of the network.
        prefix: Which network of several.
        expected: Shapes by diffusers' name.
        second_time: What the suite says that a second time embedding sees.

    Raises:
        UserError: They do not fit.
    """
    tensors = read_tensors(checkpoint)
    names = diffusers_names(tensors, family.name, layout_of(tensors, prefix), prefix)
    found = {new: tensors[old] for old, new in names.items()}
    shapes = {name: list(value.shape) for name, value in found.items()}
    where = f"{checkpoint.place}: {checkpoint.path}"
    check_student(shapes, expected, family, second_time, where)
    return {name: value.reshape(expected[name]) for name, value in found.items()}


def with_lora(
    state: "Mapping[str, Tensor]", path: Path, family: Family, scale: float, place: str
) -> "dict[str, Tensor]":
    """Return a transformer's tensors with a LoRA file merged in.

    Args:
        state: Tensors by diffusers' name.
        path: The file.
        family: Family of the network.
        scale: Factor on the update.
        place: File, line and key, for messages.

    Raises:
        UserError: It does not fit; at the plan the network's shapes are not always known.
    """
    shapes = {name: list(value.shape) for name, value in state.items()}
    check_lora(path, family.name, shapes, place)
    alphas = adapter_alphas(path, place)  # a network that is saved alone has no name: ""
    tensors = read_tensors(Checkpoint(path=path, format="safetensors", files=(path,), place=place))
    alpha = alphas.get("transformer", alphas.get(""))
    return merge_lora(state, tensors, family.name, scale, alpha)


def free(device: str) -> None:
    """Give memory back that nothing refers to any more."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def folder_tensors(root: Path, place: str) -> "dict[str, Tensor]":
    """Read the tensors of a folder's own transformer."""
    files = tuple(part_files(root / "transformer", place))
    return read_tensors(
        Checkpoint(path=root / "transformer", format="safetensors", files=files, place=place)
    )
