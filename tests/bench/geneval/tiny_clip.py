"""A tiny random CLIP under the name of the real one, saved and loaded through open_clip."""

import json

import torch

TINY = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}  # fmt: skip
NAME = "tiny-quickgelu"


def tiny_clip(folder):
    """Make the architecture known, and return a model with random weights."""
    import open_clip

    (folder / "configs").mkdir(exist_ok=True)
    config = folder / "configs" / f"{NAME}.json"
    config.write_text(json.dumps({**TINY, "quick_gelu": True}))
    open_clip.add_model_config(config)
    model = open_clip.create_model(NAME, pretrained=None).eval()
    with torch.no_grad():  # random features hardly depend on the picture; these do
        for layer in (*model.visual.transformer.resblocks, *model.transformer.resblocks):
            for weight in layer.parameters():
                if weight.dim() > 1:
                    weight.mul_(8)
    return model
