"""A pipeline's weights in one safetensors file, found and checked at the plan, without torch.

A file holds weights alone: configurations, tokenizer, scheduler and the networks that it lacks come
from a folder in diffusers' layout, the suite's ``config``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rcm_bench.checkpoints.files import PICKLES
from rcm_bench.errors import UserError
from rcm_bench.weights_files import read_header

Group = Literal["main", "text", "vae"]
PREFIXES: dict[Group, tuple[str, ...]] = {
    "vae": ("vae.", "first_stage_model."),
    "text": ("text_encoders.", "conditioner.", "cond_stage_model."),
}
# By the class of a text encoder: where diffusers looks for it.
_ENCODERS = {
    "T5EncoderModel": ("text_encoders.t5xxl.",),
    "CLIPText": ("text_encoders.clip_", "conditioner.", "cond_stage_model."),
}
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
    """

    path: Path
    names: Mapping[Group, tuple[str, ...]]
    place: str

    def has(self, part: str, kind: str = "") -> bool:
        """Say whether a part of a pipeline is in the file.

        Args:
            part: Its name, such as ``vae``.
            kind: Its class: which text encoder it is.
        """
        group = group_of(part)
        if group is None:
            return False
        heads = next((h for name, h in _ENCODERS.items() if kind.startswith(name)), ())
        return any(group != "text" or key.startswith(heads) for key in self.names[group])

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
        UserError: There is no such file, it is a pickle or damaged, or ``config`` does not belong.
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
    for key in read_header(path, f"{place}.weights").tensors:
        groups = [group for group, heads in PREFIXES.items() if key.startswith(heads)]
        names[groups[0] if groups else "main"].append(key)
    found = {group: tuple(keys) for group, keys in names.items()}
    return SingleFile(path=path, names=found, place=place)
