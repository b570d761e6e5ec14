"""Random weights for dimensions of the real package; run by the Python of its environment.

Usage: python real_weights.py CACHE_FOLDER DIMENSION...
"""

import os
import shutil
import sys

import torch


def save(data, folder, name):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(data, path)


def motion_smoothness(folder):
    import vbench
    from omegaconf import OmegaConf
    from vbench.third_party.amt.utils.build_utils import build_from_cfg

    config = os.path.join(os.path.dirname(vbench.__file__), "third_party/amt/cfgs/AMT-S.yaml")
    net = build_from_cfg(OmegaConf.load(config).network)
    save({"state_dict": net.state_dict()}, folder, "amt_model/amt-s.pth")


def viclip(folder):
    import clip
    from vbench.third_party.ViCLIP.simple_tokenizer import SimpleTokenizer
    from vbench.third_party.ViCLIP.viclip import ViCLIP

    words = os.path.join(os.path.dirname(clip.__file__), "bpe_simple_vocab_16e6.txt.gz")
    os.makedirs(os.path.join(folder, "ViCLIP"), exist_ok=True)
    target = os.path.join(folder, "ViCLIP", "bpe_simple_vocab_16e6.txt.gz")
    shutil.copy(words, target)
    net = ViCLIP(tokenizer=SimpleTokenizer(target), pretrain=None)
    for parameter in net.parameters():  # some are made without values
        torch.nn.init.normal_(parameter, std=0.02)
    save({"model": net.state_dict()}, folder, "ViCLIP/ViClip-InternVid-10M-FLT.pth")


def human_action(folder):
    import vbench.third_party.umt.models.modeling_finetune  # noqa: F401
    from timm.models import create_model

    net = create_model(
        "vit_large_patch16_224", pretrained=False, num_classes=400, all_frames=16, tubelet_size=1,
        use_learnable_pos_emb=False, fc_drop_rate=0.0, drop_rate=0.0, drop_path_rate=0.2,
        attn_drop_rate=0.0, drop_block_rate=None, use_checkpoint=False, checkpoint_num=16,
        use_mean_pooling=True, init_scale=0.001,
    )  # fmt: skip
    save(net.state_dict(), folder, "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth")


def dynamic_degree(folder):
    from easydict import EasyDict
    from vbench.third_party.RAFT.core.raft import RAFT

    net = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False))
    for parameter in net.update_block.flow_head.conv2.parameters():
        torch.nn.init.zeros_(parameter)  # nothing moves: what random flow does, nobody can say
    state = {"module." + name: value for name, value in net.state_dict().items()}
    save(state, folder, "raft_model/models/raft-things.pth")


MAKERS = {
    "motion_smoothness": motion_smoothness,
    "overall_consistency": viclip,
    "temporal_style": viclip,
    "human_action": human_action,
    "dynamic_degree": dynamic_degree,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    for maker in dict.fromkeys(MAKERS[name] for name in sys.argv[2:]):
        maker(sys.argv[1])
