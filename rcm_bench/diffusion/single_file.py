"""A pipeline's weights in one safetensors file, found and checked at the plan, without torch.

A file holds weights alone: configurations, tokenizer, scheduler and the networks that it lacks come
from a folder in diffusers' layout, the suite's ``config``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rcm_bench.checkpoints.files import PICKLES
from rcm_bench.diffusion.source import read_json
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

Group = Literal["main", "text", "vae"]
PREFIXES: dict[Group, tuple[str, ...]] = {
    "vae": ("vae.", "first_stage_model."),
    "text": ("text_encoders.", "conditioner.", "cond_stage_model."),
}
# What diffusers (0.42.1) knows text encoders by; some CLIPs by their width as well.
_POSITIONS = "transformer.text_model.embeddings.position_embedding.weight"
_T5 = "text_encoders.t5xxl.transformer.shared.weight"
_CLIP = (
    f"cond_stage_model.{_POSITIONS}",
    "cond_stage_model.model.token_embedding.weight",
    "conditioner.embedders.0.model.text_projection",
)
_CLIP_L, _CLIP_G = f"text_encoders.clip_l.{_POSITIONS}", f"text_encoders.clip_g.{_POSITIONS}"
_SDXL_L = f"conditioner.embedders.0.{_POSITIONS}"  # read beside another CLIP, never alone
_SDXL_G = "conditioner.embedders.1.model.positional_embedding"
_CLIP_WIDTH = 512  # transformers' default of a configuration that names none
MAIN = "model.diffusion_model."
# Counters, fixed positions and noise levels that training code stores beside the weights.
NO_WEIGHTS = re.compile(
    r"(.*\.)?(_extra_state|position_ids|accum_\w+)|(.*\.)?pos_embedder\..*|(net\.)?logvar\..*"
    r"|denoiser\.sigmas|model_ema\..*|.*\.logit_scale"
    # Stable Diffusion's noise schedule, which is the scheduler's here.
    r"|betas|alphas_cumprod(_prev)?|(log|sqrt)_\w*alphas_cumprod|sqrt_recipm1_alphas_cumprod"
    r"|posterior_\w+"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleFile:
    """A file that has been looked at.

    Args:
        path: The file.
        names: Its tensors by what they belong to: the main network, text encoders, autoencoder.
        place: File, line and model entry, for messages.
        widths: Last side of the tensors of text encoders, by name.
    """

    path: Path
    names: Mapping[Group, tuple[str, ...]]
    place: str
    widths: Mapping[str, int] = field(default_factory=dict)

    def has(self, part: str, kind: str = "", root: Path | None = None) -> bool:
        """Say whether a part of a pipeline is in the file, by what diffusers knows it by.

        Args:
            part: Its name, such as ``vae``.
            kind: Its class: which text encoder it is.
            root: The pipeline's folder of configurations, by which two CLIPs are told apart.
        """
        group = group_of(part)
        if group != "text":
            return group is not None and bool(self.names[group])
        if kind == "T5EncoderModel":
            return _T5 in self.widths
        if not kind.startswith("CLIPText") or root is None:
            return False
        config = read_json(root / part / "config.json", self.place)
        own = int(config.get("hidden_size", _CLIP_WIDTH))
        known = (_CLIP_L, _CLIP_G, _SDXL_G)
        beside = any(name in self.widths for name in (*_CLIP, *known))
        return (
            any(name in self.widths for name in _CLIP)
            or any(self.widths.get(name) == own for name in known)
            or (beside and self.widths.get(_SDXL_L) == own)
        )

    @property
    def where(self) -> str:
        """Return place, key and file, for messages."""
        return f"{self.place}.weights: {self.path}"


def group_of(part: str) -> Group | None:
    """Return what the tensors of a part are found under; None where no file holds it."""
    if part.startswith("text_encoder"):
        return "text"
    return "vae" if part == "vae" else "main" if part in ("transformer", "unet") else None


def find_single(name: str, config: str | None, folder: Path, place: str) -> SingleFile | None:
    """Look at weights in a single file; None where ``weights`` names a folder or a hub id.

    Args:
        name: What the suite says under ``weights``.
        config: What it says under ``config``.
        folder: Folder of the suite.
        place: File, line and model entry, for messages.

    Raises:
        UserError: There is no such file, it is a pickle or damaged, ``config`` does not belong, or
            two text encoders in it cannot be told apart.
    """
    suffix = Path(name).suffix
    path = next((p for p in (folder / name, Path(name)) if p.is_file()), None)
    if path is None and suffix not in (".safetensors", *PICKLES):
        if config is not None:
            raise UserError(f"{place}.config: belongs to a single file under 'weights', got {name}")
        return None
    if path is None:
        raise UserError(
            f"{place}.weights: {name}: no such file, neither in {folder} nor in {Path.cwd()}"
        )
    if suffix in PICKLES:
        raise UserError(
            f"{place}.weights: {path}: a pickle can run code when it is read, and a whole pipeline "
            "is never read from one; convert it to safetensors (a transformer alone belongs under "
            "'transformer', where --allow-pickle can allow it)"
        )
    if suffix != ".safetensors":
        raise UserError(
            f"{place}.weights: {path}: expected a folder in diffusers' layout, a hub id or a "
            f".safetensors file, got '{suffix or path.name}'"
        )
    if config is None:
        raise UserError(
            f"{place}.config: {path.name} holds weights alone: expected a folder in diffusers' "
            "layout, or a hub id with 'revision', for configurations, tokenizer, scheduler and "
            "what the file lacks; a student's transformer belongs under 'transformer'"
        )
    names: dict[Group, list[str]] = {"main": [], "text": [], "vae": []}
    tensors = read_header(path, f"{place}.weights").tensors
    for key in tensors:
        groups = [group for group, heads in PREFIXES.items() if key.startswith(heads)]
        names[groups[0] if groups else "main"].append(key)
    found = {group: tuple(keys) for group, keys in names.items()}
    widths = {key: int((tensors[key]["shape"] or [1])[-1]) for key in names["text"]}
    for one, other in ((_CLIP_L, _CLIP_G), (_SDXL_L, _SDXL_G)):
        if one in widths and widths[one] == widths.get(other):
            raise UserError(
                f"{place}.weights: {path}: two text encoders of the same width {widths[one]} "
                f"({one}, {other}): diffusers tells them apart by their width alone"
            )
    return SingleFile(path=path, names=found, place=place, widths=widths)
