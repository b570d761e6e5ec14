"""The networks behind the native dimensions: built by maintained libraries, weights from files.

Numbers are float32, but CLIP on a GPU is float16, as OpenAI's package has it and VBench's figures
come from. Whether convolutions may use TF32 is left as torch has it, as the package leaves it.

Networks are built on the device ``meta``, where no start is drawn and nothing takes memory; the
files' Tensors, read straight to the device, become theirs.
"""

from typing import TYPE_CHECKING, Any

from rcm_bench.checkpoints.fill import fill
from rcm_bench.errors import UserError
from rcm_bench.vbench.native.flow import Flow
from rcm_bench.vbench.native.raft_names import torchvision_state
from rcm_bench.vbench.native.weights import (
    AESTHETIC,
    DINO,
    MUSIQ,
    RAFT,
    WeightFiles,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_EXTRA = "Install it with: pip install 'rcm-bench[vbench]'"


def load_dino(files: WeightFiles, device: str) -> Any:
    """Return timm's ViT-B/16 with DINO's weights."""
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(f"subject_consistency needs timm. {_EXTRA}") from None
    import torch

    from rcm_bench.vbench.native.class_token import last_of_timm

    with torch.device("meta"):
        dino = timm.create_model("vit_base_patch16_224.dino", pretrained=False, num_classes=0)
    fill(dino, files.state(DINO, device), str(files.folder / DINO), assign=True)
    dino.blocks[-1] = last_of_timm(dino.blocks[-1])
    return dino.eval().to(device)


def load_clip(files: WeightFiles, name: str, device: str) -> Any:
    """Return open_clip's model of OpenAI's weights, with their activation (QuickGELU).

    Numbers are rounded to float16 first, as OpenAI's package rounds them on any device; a CPU then
    computes with them in float32.
    """
    try:
        from open_clip.model import build_model_from_openai_state_dict
    except ModuleNotFoundError:
        raise UserError(f"{name} needs open_clip. {_EXTRA}") from None
    import torch

    from rcm_bench.vbench.native.class_token import last_of_open_clip

    state = files.state(name, device)
    sizes = {key: value.to("meta") for key, value in state.items()}
    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        with torch.device("meta"):
            clip = build_model_from_openai_state_dict(sizes, quick_gelu=True, cast_dtype=dtype)
    except (KeyError, RuntimeError) as fault:
        said = " ".join(str(fault).split())
        raise UserError(f"{files.folder / name}: not the weights of a CLIP ({said})") from None
    dtypes = {key: value.dtype for key, value in clip.state_dict().items()}
    rounded = {key: _rounded(state.pop(key), dtype, device) for key, dtype in dtypes.items()}
    fill(clip, rounded, str(files.folder / name), assign=True)
    # The one Tensor that is in no file: each word sees those before it.
    clip.attn_mask = torch.full(clip.attn_mask.shape, -torch.inf).triu(1)
    blocks = clip.visual.transformer.resblocks
    blocks[-1] = last_of_open_clip(blocks[-1])
    return clip.eval().to(device)


def _rounded(value: "Tensor", dtype: "torch.dtype", device: str) -> "Tensor":
    """Return a Tensor rounded to a type, on a CPU as float32 again, and there in its own memory.

    Fresh memory for the largest network costs more than the arithmetic.
    """
    import torch

    if device != "cpu":
        return value.to(dtype)
    if value.dtype == torch.float32:
        return value if dtype == torch.float32 else value.copy_(value.to(dtype))
    return value.to(dtype).float()


def load_aesthetic(files: WeightFiles, device: str) -> Any:
    """Return LAION's linear layer on features of ViT-L/14."""
    import torch

    with torch.device("meta"):
        head = torch.nn.Linear(768, 1)
    fill(head, files.state(AESTHETIC, device), str(files.folder / AESTHETIC), assign=True)
    return head.eval().to(device)


def load_musiq(files: WeightFiles, device: str) -> Any:
    """Return pyiqa's MUSIQ with one output, as it is trained on SPAQ."""
    try:
        from pyiqa.archs import musiq_arch
    except ModuleNotFoundError as fault:
        raise UserError(f"imaging_quality needs pyiqa ({fault}). {_EXTRA}") from None
    import torch

    with torch.device("meta"):
        musiq = musiq_arch.MUSIQ(pretrained=False)
    fill(musiq, files.state(MUSIQ, device), str(files.folder / MUSIQ), assign=True)
    return musiq.eval().to(device)


def load_flow(files: WeightFiles, device: str) -> Flow:
    """Return torchvision's RAFT with the original weights (Things)."""
    try:
        from torchvision.models.optical_flow import raft_large
    except ModuleNotFoundError:
        raise UserError(f"optical flow needs torchvision. {_EXTRA}") from None
    import torch

    path = files.folder / RAFT
    with torch.device("meta"):
        raft = raft_large(weights=None, progress=False)
    fill(raft, torchvision_state(files.state(RAFT, device), path), str(path), assign=True)
    return Flow(raft=raft.eval().to(device), device=device)
