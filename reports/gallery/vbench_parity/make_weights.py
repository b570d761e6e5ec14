"""Random weights at real sizes in the file formats of VBench; run by a Python that has the package.

Usage: python make_weights.py CACHE_FOLDER [SEED]

DINO's own code, which the package calls, lies in CACHE_FOLDER/dino_model already. Weights are wider
than their usual start, so that pictures that differ get features that differ.
"""

import os
import shutil
import sys

import stand_ins
import torch

stand_ins.install()
from clip.model import CLIP  # noqa: E402
from easydict import EasyDict  # noqa: E402
from pyiqa.archs.musiq_arch import MUSIQ  # noqa: E402
from vbench.third_party.RAFT.core.raft import RAFT  # noqa: E402


def save(state, folder, name):
    """Save Tensors by name."""
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(state, path)


def raft(folder):
    """Draw norms too: their usual start would not show a swapped name."""
    net = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {"module." + name: value for name, value in net.state_dict().items()}
    save(state, folder, "raft_model/models/raft-things.pth")


def clip(folder):
    """Write archives of TorchScript, as OpenAI's are."""
    sizes = {
        "ViT-B-32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
        "ViT-L-14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 1),
    }
    os.makedirs(os.path.join(folder, "clip_model"), exist_ok=True)
    for name, size in sizes.items():
        net = CLIP(*size).eval()
        net.logit_scale.data.fill_(4.6052)
        inputs = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.save(torch.jit.trace(net, inputs), f"{folder}/clip_model/{name}.pt")


def dino(folder):
    """Put the file where the package's call of torch.hub finds it too."""
    code = os.path.join(folder, "dino_model/facebookresearch_dino_main")
    net = torch.hub.load(code, "dino_vitb16", source="local", pretrained=False)
    for name, value in net.named_parameters():
        if value.dim() > 1:
            torch.nn.init.normal_(value, std=0.5 if name.endswith("embed") else 0.06)
    name = "dino_model/dino_vitbase16_pretrain.pth"
    save(net.state_dict(), folder, name)
    hub = os.path.join(torch.hub.get_dir(), "checkpoints")
    os.makedirs(hub, exist_ok=True)
    shutil.copy(os.path.join(folder, name), hub)


if __name__ == "__main__":
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    cache = sys.argv[1]
    raft(cache)
    clip(cache)
    dino(cache)
    save(
        torch.nn.Linear(768, 1).state_dict(),
        cache,
        "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",
    )
    save(
        MUSIQ(pretrained=False).state_dict(),
        cache,
        "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",
    )
