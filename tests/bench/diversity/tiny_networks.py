"""Tiny networks of the real architectures with random weights, saved as the real ones are."""

import json

import torch

from rcm_bench.canonical import file_digest

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}


def tiny_dino(folder, version=2):
    """Save a DINO of 2 layers; return what a suite says of it."""
    import transformers

    shared = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
    if version == 2:
        config = transformers.Dinov2Config(**shared, patch_size=14)
        model = transformers.Dinov2Model(config)
    else:
        config = transformers.DINOv3ViTConfig(**shared, patch_size=14, intermediate_size=48)
        model = transformers.DINOv3ViTModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return {
        "weights": str(folder),
        "sha256": file_digest(folder / "model.safetensors"),
        "config_sha256": file_digest(folder / "config.json"),
        "resize": 32,
        "crop": 28,
    }


def tiny_clip(folder, embed_dim=16, name="tiny-test-clip"):
    """Save an open_clip model and make its architecture known; return what a suite says of it."""
    import open_clip

    configs = folder / "configs"
    configs.mkdir(parents=True)
    (configs / f"{name}.json").write_text(json.dumps({**TINY_CLIP, "embed_dim": embed_dim}))
    open_clip.add_model_config(configs)
    torch.save(open_clip.create_model(name).state_dict(), folder / "clip.pt")
    return {
        "model": name,
        "weights": str(folder / "clip.pt"),
        "sha256": file_digest(folder / "clip.pt"),
    }


def random_backbone(folder, net="squeeze"):
    """Save torchvision's backbone with random weights; return what a suite says of it."""
    import torchvision

    built = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    with torch.device("meta"):
        shapes = getattr(torchvision.models, built)(weights=None).state_dict()
    # Of the classifier, which is most of the file, nothing is needed but its names.
    weights = {
        name: 0.1 * torch.randn(meta.shape) if name.startswith("features.") else torch.zeros(1)
        for name, meta in shapes.items()
    }
    path = folder / f"{net}.pth"
    torch.save(weights, path)
    return {"net": net, "weights": str(path), "sha256": file_digest(path), "size": 64}
