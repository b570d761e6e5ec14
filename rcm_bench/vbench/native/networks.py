"""The networks behind the native dimensions: built by maintained libraries, weights from files.

Numbers are float32, but CLIP on a GPU is float16, as OpenAI's package has it and VBench's figures
come from. Whether convolutions may use TF32 is left as torch has it, as the package leaves it.
"""

from typing import Any

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

_EXTRA = "Install it with: pip install 'rcm-bench[vbench]'"


def load_dino(files: WeightFiles, device: str) -> Any:
    """Return timm's ViT-B/16 with DINO's weights."""
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(f"subject_consistency needs timm. {_EXTRA}") from None
    import torch

    from rcm_bench.vbench.native.class_token import last_of_timm

    with torch.device("meta"):  # a random start would take longer than reading the file
        dino = timm.create_model("vit_base_patch16_224.dino", pretrained=False, num_classes=0)
    fill(dino, files.state(DINO), str(files.folder / DINO), assign=True)
    dino.blocks[-1] = last_of_timm(dino.blocks[-1])
    return dino.eval().to(device)


def load_clip(files: WeightFiles, name: str, device: str) -> Any:
    """Return open_clip's model of OpenAI's weights, with their activation (QuickGELU).

    Numbers are rounded to float16 first, as OpenAI's package rounds them on any device.
    """
    try:
        from open_clip.model import build_model_from_openai_state_dict
    except ModuleNotFoundError:
        raise UserError(f"{name} needs open_clip. {_EXTRA}") from None
    import torch

    from rcm_bench.vbench.native.class_token import last_of_open_clip

    state = files.state(name)
    sizes = {key: value.to("meta") for key, value in state.items()}
    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        with torch.device("meta"):
            clip = build_model_from_openai_state_dict(sizes, quick_gelu=True, cast_dtype=dtype)
    except (KeyError, RuntimeError) as fault:
        said = " ".join(str(fault).split())
        raise UserError(f"{files.folder / name}: not the weights of a CLIP ({said})") from None
    rounded = {key: state[key].to(value.dtype) for key, value in clip.state_dict().items()}
    fill(clip, rounded, str(files.folder / name), assign=True)
    # The one Tensor that is in no file: each word sees those before it.
    clip.attn_mask = torch.full(clip.attn_mask.shape, -torch.inf).triu(1)
    blocks = clip.visual.transformer.resblocks
    blocks[-1] = last_of_open_clip(blocks[-1])
    return (clip.float() if device == "cpu" else clip).eval().to(device)


def load_aesthetic(files: WeightFiles, device: str) -> Any:
    """Return LAION's linear layer on features of ViT-L/14."""
    import torch

    head = torch.nn.Linear(768, 1)
    fill(head, files.state(AESTHETIC), str(files.folder / AESTHETIC))
    return head.eval().to(device)


def load_musiq(files: WeightFiles, device: str) -> Any:
    """Return pyiqa's MUSIQ with one output, as it is trained on SPAQ."""
    try:
        from pyiqa.archs import musiq_arch
    except ModuleNotFoundError as fault:
        raise UserError(f"imaging_quality needs pyiqa ({fault}). {_EXTRA}") from None
    musiq = musiq_arch.MUSIQ(pretrained=False)
    fill(musiq, files.state(MUSIQ), str(files.folder / MUSIQ))
    return musiq.eval().to(device)


def load_flow(files: WeightFiles, device: str) -> Flow:
    """Return torchvision's RAFT with the original weights (Things)."""
    try:
        from torchvision.models.optical_flow import raft_large
    except ModuleNotFoundError:
        raise UserError(f"optical flow needs torchvision. {_EXTRA}") from None
    path = files.folder / RAFT
    raft = raft_large(weights=None, progress=False)
    fill(raft, torchvision_state(files.state(RAFT), path), str(path))
    return Flow(raft=raft.eval().to(device), device=device)
