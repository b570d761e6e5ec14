"""Mask2Former with its weights, of the hub's checkpoint or mmdetection's file, never in part."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.detectors.mmdet_keys import listed, to_hub
from rcm_bench.detectors.settings import Mask2FormerSettings
from rcm_bench.errors import MissingError, UserError
from rcm_bench.faults import first_line
from rcm_bench.features.pinned import check_digest, hold_to, missing
from rcm_bench.geneval_prompts import COCO_NAMES, NAMES

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = 'python -m pip install "rcm-bench[geneval]"'
_FILES = ("config.json", "model.safetensors")
OFFICIAL = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
PUBLISHED = {
    "mmdet": "the official file has about 0.3 GB; get it: curl -LO "
    f"https://download.openmmlab.com/mmdetection/v2.0/mask2former/{OFFICIAL}/"
    f"{OFFICIAL}_20220504_001756-743b7d99.pth",
    "hub": "of this size (about 0.3 GB) is facebook/mask2former-swin-small-coco-instance on the "
    "hub; that id is fetched if its commit stands under 'revision'",
}
"""Which weights papers have, by layout, and where they are, for who has none."""
_UNUSED = ("criterion.empty_weight", ".swin.layernorm.weight", ".swin.layernorm.bias")
"""What no prediction depends on: the loss's class weights, a norm that the backbone leaves out."""


def official_config() -> Any:
    """Return the architecture of mmdetection's ``mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco``.

    Swin-S, a pixel decoder of 6 layers, a decoder of 9, 100 queries, 80 classes.
    """
    transformers = _transformers()
    backbone = transformers.SwinConfig(
        image_size=224,
        patch_size=4,
        embed_dim=96,
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return transformers.Mask2FormerConfig(
        backbone_config=backbone,
        num_queries=100,
        id2label=dict(enumerate(coco_names())),
        label2id={name: place for place, name in enumerate(coco_names())},
    )


def coco_names() -> list[str]:
    """Return COCO's own 80 names in COCO's order, as checkpoints have them."""
    return [COCO_NAMES.get(name, name) for name in NAMES]


def check_files(settings: Mask2FormerSettings, where: str) -> None:
    """Refuse weights that are not there or are others; a hub id is left for `load_model`.

    Raises:
        MissingError: A package or a file is missing.
        UserError: A digest differs.
    """
    if find_spec("transformers") is None:  # importing it would take half of a plan's time
        raise MissingError(f"GenEval's detector needs transformers: {EXTRA}")
    if settings.revision is None:
        lost = [path for path in _files(settings) if not path.is_file()]
        for path, digest in _files(settings).items():
            if path not in lost:
                hold_to(path, digest, where)
        if lost:
            raise missing(where, lost[0], PUBLISHED[settings.layout])


def load_model(settings: Mask2FormerSettings, where: str) -> Any:
    """Load Mask2Former in float32 on the CPU, in evaluation mode, with plain attention.

    Nothing is executed in loading: safetensors, or a pickle of tensors only.

    Args:
        settings: Which weights.
        where: Key of the suite, for messages.

    Raises:
        UserError: A package or a file is missing, a digest differs, a weight is missing, unexpected
            or misshapen, or the classes are not COCO's in COCO's order.
    """
    check_files(settings, where)
    if settings.layout == "mmdet":
        (path,) = _files(settings)
        check_digest(path, settings.sha256, where)
        config = official_config()
        return _filled(
            None, config, to_hub(_pickled(path, where), config, f"{where}: {path}"), where
        )
    folder = Path(settings.weights)
    if settings.revision is not None:
        folder = _downloaded(settings, where)
    for name, digest in zip(_FILES, (settings.config_sha256, settings.sha256), strict=True):
        check_digest(folder / name, digest, where)
    return _filled(folder, None, None, where)


def _files(settings: Mask2FormerSettings) -> dict[Path, str | None]:
    """Return the files of local weights, each with the SHA-256 that it must have."""
    path = Path(settings.weights)
    if settings.layout == "mmdet":
        return {path: settings.sha256}
    digests = (settings.config_sha256, settings.sha256)
    return {path / name: digest for name, digest in zip(_FILES, digests, strict=True)}


def _downloaded(settings: Mask2FormerSettings, where: str) -> Path:
    """Return the folder of a hub id at its revision, from the cache or the hub."""
    from huggingface_hub import snapshot_download

    fetch = partial(
        snapshot_download,
        settings.weights,
        revision=settings.revision,
        allow_patterns=list(_FILES),
    )
    with suppress(Exception):  # not in the cache, or not whole: fetched below
        cached = Path(fetch(local_files_only=True))
        if all((cached / name).is_file() for name in _FILES):
            return cached
    try:
        found = Path(fetch())
    except Exception as fault:
        raise UserError(
            f"{where}: {settings.weights} at {settings.revision} cannot be fetched: {fault}"
        ) from None
    for name in _FILES:
        if not (found / name).is_file():
            raise UserError(f"{where}: {settings.weights}: holds no {name} at {settings.revision}")
    return found


def _pickled(path: Path, where: str) -> "dict[str, Tensor]":
    import torch

    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        said = first_line(fault)
        raise UserError(
            f"{where}: {path}: expected a PyTorch file of plain tensors: {said}"
        ) from None
    weights = whole.get("state_dict", whole) if isinstance(whole, dict) else None
    if not isinstance(weights, dict) or not all(torch.is_tensor(w) for w in weights.values()):
        raise UserError(f"{where}: {path}: expected a 'state_dict' of tensors")
    return weights


def _filled(folder: Path | None, config: Any, weights: Any, where: str) -> Any:
    """Build the model, and refuse all that does not fit."""
    import torch

    with _quiet():
        made, found = _transformers().Mask2FormerForUniversalSegmentation.from_pretrained(
            folder,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation="eager",
        )
    missing = [name for name in found["missing_keys"] if not name.endswith(_UNUSED)]
    faults = [f"missing: {name}" for name in sorted(missing)]
    faults += [f"unexpected: {name}" for name in sorted(found["unexpected_keys"])]
    faults += [
        f"misshapen: {name}: expected {tuple(here)}, got {tuple(there)}"
        for name, there, here in sorted(found["mismatched_keys"])
    ]
    if faults:
        raise UserError(listed(f"{where}: weights of another architecture", faults))
    check_classes(made.config, where)
    return made.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out transformers' progress bar and its table of names: ours says what is wrong."""
    logging = _transformers().logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def check_classes(config: Any, where: str) -> None:
    """Refuse a checkpoint whose classes are not COCO's 80 in COCO's order.

    Raises:
        UserError: The first class that differs is named.
    """
    names = coco_names()
    if len(config.id2label) != len(names):
        raise UserError(f"{where}: expected 80 classes, got {len(config.id2label)}")
    for place, name in enumerate(names):
        if (got := config.id2label.get(place)) != name:
            raise UserError(f"{where}: expected class {place} to be {name!r}, got {got!r}")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as fault:
        raise UserError(f"GenEval's detector needs transformers ({fault}): {EXTRA}") from None
    return transformers
