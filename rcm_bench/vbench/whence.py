"""Where the files of VBench's weights are, for who has none; nothing is fetched from there here.

Addresses are those of the package's own code (vbench 0.1.5 and its repository after it). Sizes
follow from the published architectures; where none is said, none is known here.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

_MODELS = "hf download OpenGVLab/VBench_Used_Models"
_CLIP = "https://openaipublic.azureedge.net/clip/models"
_B32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_L14 = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
UNKNOWN = "no place is known"
WHENCE: Mapping[str, str] = {
    "clip_model/ViT-B-32.pt": f"0.4 GB, {_CLIP}/{_B32}/ViT-B-32.pt",
    "clip_model/ViT-L-14.pt": f"0.9 GB, {_CLIP}/{_L14}/ViT-L-14.pt",
    "dino_model/facebookresearch_dino_main": "git clone https://github.com/facebookresearch/dino",
    "dino_model/dino_vitbase16_pretrain.pth": "0.3 GB, https://dl.fbaipublicfiles.com/dino/"
    "dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    "raft_model/models/raft-things.pth": "0.02 GB, in models.zip of RAFT: "
    "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip",
    "amt_model/amt-s.pth": "0.01 GB, https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
    "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth": "some kB, LAION's repository "
    "aesthetic-predictor",
    "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth": "0.1 GB, https://github.com/chaofengc/IQA-PyTorch/"
    "releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
    "grit_model/grit_b_densecap_objectdet.pth": f"{_MODELS} grit_b_densecap_objectdet.pth",
    "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth": f"{_MODELS} "
    "l16_ptk710_ftk710_ftk400_f16_res224.pth",
    "caption_model/tag2text_swin_14m.pth": "https://huggingface.co/spaces/xinyu1205/"
    "recognize-anything/resolve/main/tag2text_swin_14m.pth",
    "ViCLIP/ViClip-InternVid-10M-FLT.pth": f"{_MODELS} ViClip-InternVid-10M-FLT.pth",
    "ViCLIP/bpe_simple_vocab_16e6.txt.gz": "OpenAI's repository CLIP, folder clip",
}
"""Size and place by name below the package's cache folder."""


def told(paths: Iterable[Path]) -> str:
    """Say of files in any cache folder where each is to be had."""
    known = {Path(name).name: place for name, place in WHENCE.items()}
    return "; ".join(f"{path.name}: {known.get(path.name, UNKNOWN)}" for path in paths)
