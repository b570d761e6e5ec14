"""What differs between Wan2.1 and Cosmos-Predict2, without torch: classes, sizes, limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WAN: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
_COSMOS: dict[str, Any] = {
    "out_channels": 16,
    "attention_head_dim": 128,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": [128, 240, 240],
    "patch_size": [1, 2, 2],
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One family of networks.

    Args:
        name: Name of the model kind.
        title: Name for messages.
        transformer: Class of diffusers.
        pipelines: Pipeline classes that a folder of this family may name.
        text_parameters: Parameters of its text encoder, for estimates.
        time_embedding: Its module that embeds the time.
        text_width: Key of the transformer's configuration that holds the width of the text.
        max_tokens: Text tokens that the network sees; shorter texts are padded with zeros.
        architectures: Configurations of the published sizes, for random weights.
    """

    name: str
    title: str
    transformer: str
    pipelines: tuple[str, ...]
    text_parameters: float
    time_embedding: str
    text_width: str
    max_tokens: int
    architectures: Mapping[str, Mapping[str, Any]]


# Wan2.1's configurations: the configs of NVlabs/rcm and of the published transformers.
WAN = Family(
    name="wan",
    title="Wan2.1 text-to-video",
    transformer="WanTransformer3DModel",
    pipelines=("WanPipeline",),
    text_parameters=5.68e9,  # umT5-XXL's encoder
    time_embedding="condition_embedder",
    text_width="text_dim",
    max_tokens=512,
    architectures={
        "1.3B": {**_WAN, "num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        "14B": {**_WAN, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    },
)
# The smallest is published in the original layout alone: its folder is that of another size.
_SMALL = {**_COSMOS, "num_attention_heads": 20, "attention_head_dim": 64, "num_layers": 20}
_2B = {**_COSMOS, "num_attention_heads": 16, "num_layers": 28}
_14B = {**_COSMOS, "num_attention_heads": 40, "num_layers": 36}
COSMOS = Family(
    name="cosmos",
    title="Cosmos-Predict2",
    transformer="CosmosTransformer3DModel",
    pipelines=("Cosmos2TextToImagePipeline", "Cosmos2VideoToWorldPipeline"),
    text_parameters=4.86e9,  # T5-11B's encoder
    time_embedding="time_embed",
    text_width="text_embed_dim",
    max_tokens=512,
    architectures={
        "0.6B-Text2Image": {**_SMALL, "in_channels": 16, "rope_scale": [1.0, 4.0, 4.0]},
        "2B-Text2Image": {**_2B, "in_channels": 16, "rope_scale": [1.0, 4.0, 4.0]},
        "14B-Text2Image": {**_14B, "in_channels": 16, "rope_scale": [1.0, 4.0, 4.0]},
        "2B-Video2World": {**_2B, "in_channels": 17, "rope_scale": [1.0, 3.0, 3.0]},
        "14B-Video2World": {**_14B, "in_channels": 17, "rope_scale": [20 / 24, 2.0, 2.0]},
    },
)

# Wan2.1's autoencoder, which Cosmos-Predict2 uses too: diffusers' defaults.
VAE: dict[str, Any] = {"base_dim": 96, "z_dim": 16}
AUTOENCODER = "AutoencoderKLWan"
VAE_PARAMETERS = 0.127e9


def size_of(family: Family, config: Mapping[str, Any]) -> str | None:
    """Return the name of the published size that has a configuration's depth and heads, if any."""
    for name, known in family.architectures.items():
        if all(known[key] == config.get(key) for key in ("num_layers", "num_attention_heads")):
            return name
    return None


def named_size(family: Family, name: str) -> str | None:
    """Return the published size that a folder's or a hub's name speaks of, if any."""
    sizes = (size for size in family.architectures if all(p in name for p in size.split("-")))
    return next(sizes, None)


def parameters(config: Mapping[str, Any]) -> float:
    """Estimate a transformer's parameters from its configuration; within 5 % (tested)."""
    width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    if "ffn_dim" in config:
        block = 8.0 * width**2 + 2 * width * int(config["ffn_dim"])
        rest = 6.0 * width**2 + int(config["text_dim"]) * width
    else:
        lora, text = int(config["adaln_lora_dim"]), int(config["text_embed_dim"])
        block = 6.0 * width**2 + 2 * width * text
        block += 2 * float(config["mlp_ratio"]) * width**2 + 3 * (4 * width * lora)
        rest = 4.0 * width**2
    return float(int(config["num_layers"]) * block + rest)
