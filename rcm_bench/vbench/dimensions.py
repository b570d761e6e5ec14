"""VBench's dimensions: which suite they belong to, who computes them, which weights they need."""

from collections.abc import Mapping

from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS

T2V = tuple(DIMENSIONS)
"""The sixteen dimensions of text to video."""
I2V = (*I2V_DIMENSIONS, "temporal_flickering")
"""The ten of image to video; flickering is scored but enters no total."""
ALL = tuple(dict.fromkeys((*T2V, *I2V)))
I2V_OWN = tuple(name for name in I2V if name not in T2V)
"""What VBench-I2V alone has; only the package can compute it."""
I2V_GROUPS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (
        246,
        (
            *("i2v_subject", "subject_consistency", "motion_smoothness", "dynamic_degree"),
            *("aesthetic_quality", "imaging_quality", "temporal_flickering"),
        ),
    ),
    (
        109,
        (
            *("i2v_background", "background_consistency", "aesthetic_quality"),
            *("imaging_quality", "temporal_flickering"),
        ),
    ),
    (763, ("camera_motion",)),
)
"""Number of prompts and dimensions of each group of VBench-I2V; 1,118 prompts in all."""
NATIVE = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality", "appearance_style"),
)
"""What the harness itself can compute on maintained libraries."""
DELEGATED = tuple(name for name in T2V if name not in NATIVE)
"""What only the package can compute."""
WITH_AUXILIARY = (
    *("object_class", "multiple_objects", "color", "spatial_relationship", "scene"),
    "appearance_style",
)
"""Judged by what the prompt file says beside the prompt: not for videos of other prompts."""
CUSTOM = tuple(name for name in T2V if name not in WITH_AUXILIARY)
"""What the package scores on videos of any prompt (mode ``custom_input``)."""
STATIC_VIDEOS = 5
"""Static videos of each prompt that flickering is measured on."""
CAPTIONED = ("temporal_style", "overall_consistency", "human_action")
"""Of `CUSTOM`, what depends on the prompt that the file name gives."""

_CLIP_B, _CLIP_L = "clip_model/ViT-B-32.pt", "clip_model/ViT-L-14.pt"
_DINO = ("dino_model/facebookresearch_dino_main", "dino_model/dino_vitbase16_pretrain.pth")
_GRIT = ("grit_model/grit_b_densecap_objectdet.pth",)
_VICLIP = ("ViCLIP/ViClip-InternVid-10M-FLT.pth", "ViCLIP/bpe_simple_vocab_16e6.txt.gz")
WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "subject_consistency": _DINO,
    "background_consistency": (_CLIP_B,),
    "temporal_flickering": (),
    "motion_smoothness": ("amt_model/amt-s.pth",),
    "dynamic_degree": ("raft_model/models/raft-things.pth",),
    "aesthetic_quality": (_CLIP_L, "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),
    "imaging_quality": ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
    "object_class": _GRIT,
    "multiple_objects": _GRIT,
    "human_action": ("umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth",),
    "color": _GRIT,
    "spatial_relationship": _GRIT,
    "scene": ("caption_model/tag2text_swin_14m.pth",),
    "appearance_style": (_CLIP_B,),
    "temporal_style": _VICLIP,
    "overall_consistency": _VICLIP,
    "i2v_subject": _DINO,
    "i2v_background": (),
    "camera_motion": (),
}
"""Files below the package's cache folder (``VBENCH_CACHE_DIR``) that it reads with local weights.

Two I2V dimensions fetch theirs through other packages (DreamSim, CoTracker).
"""


def scale_of(dimension: str) -> float:
    """Return what turns a video's own value into the aggregate's scale: imaging's is 0 to 100."""
    return 0.01 if dimension == "imaging_quality" else 1.0


def group_name(dimensions: tuple[str, ...] | list[str]) -> str:
    """Return the name of a group of prompts: its dimensions, joined, in the table's order."""
    for _, names in (*GROUPS, *I2V_GROUPS):
        if set(names) == set(dimensions):
            return "+".join(names)
    raise ValueError(f"no group of VBench's prompts has dimensions {list(dimensions)}")
