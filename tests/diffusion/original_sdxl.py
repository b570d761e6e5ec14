"""SDXL's original names, as its single files have them: UNet, autoencoder, two text encoders."""

import re

import torch

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
          "norm2": "out_layers.0", "conv2": "out_layers.3",
          "conv_shortcut": "skip_connection"}  # fmt: skip
TOP = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
       "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
       "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip


def unet_name(name, layers, up_attention):
    """Blocks are numbered through, and a block's parts by their order."""
    for new, old in TOP.items():
        if name.startswith(f"{new}."):
            return f"{old}{name.removeprefix(new)}"
    inner = {"resnets": 0, "attentions": 1}
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        part, j, rest = match.groups()
        place = f"middle_block.{1 if part == 'attentions' else 2 * int(j)}"
        return f"{place}.{resnet(rest) if part == 'resnets' else rest}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)"
                     r"\.(.*)", name)  # fmt: skip
    side, i, part, j, rest = match.groups()
    i, j = int(i), int(j)
    if part == "downsamplers":
        return f"input_blocks.{(layers + 1) * i + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"output_blocks.{(layers + 1) * i + layers}.{2 if up_attention[i] else 1}.{rest}"
    head = "input_blocks" if side == "down" else "output_blocks"
    number = (layers + 1) * i + j + (1 if side == "down" else 0)
    return f"{head}.{number}.{inner[part]}.{resnet(rest) if part == 'resnets' else rest}"


def resnet(rest):
    first, _, last = rest.partition(".")
    return f"{RESNET[first]}.{last}"


def vae_tensor(name, value, blocks):
    """Attention is made of convolutions of one pixel, and the decoder counts from the end."""
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    for side, word in (("encoder.down", "down"), ("decoder.up", "up")):
        coder = side.split(".")[0]
        match = re.match(
            rf"{coder}\.{word}_blocks\.(\d)\.(resnets|{word}samplers)\.(\d)\.(.*)", name
        )
        if match:
            i, part, j, rest = match.groups()
            i = int(i) if word == "down" else blocks - 1 - int(i)
            place = f"block.{j}" if part == "resnets" else f"{word}sample"
            return f"{side}.{i}.{place}.{rest}", value
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
                 "to_out.0": "proj_out"}  # fmt: skip
        for new, old in names.items():
            name = name.replace(f"mid_block.attentions.0.{new}", f"mid.attn_1.{old}")
        if value.ndim == 2:
            value = value[:, :, None, None]
    return name, value


def open_clip(state):
    """open_clip joins q, k and v, and multiplies by the projection from the other side."""
    state = {f"{'' if k.startswith('text_') else 'text_model.'}{k}": v for k, v in state.items()}
    made = {
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "text_projection": state["text_projection.weight"].T,
    }
    for leaf in ("weight", "bias"):
        made[f"ln_final.{leaf}"] = state[f"text_model.final_layer_norm.{leaf}"]
        for i in range(2):
            old, new = f"text_model.encoder.layers.{i}", f"transformer.resblocks.{i}"
            joined = [state[f"{old}.self_attn.{x}_proj.{leaf}"] for x in "qkv"]
            made[f"{new}.attn.in_proj_{leaf}"] = torch.cat(joined)
            for a, b in (("self_attn.out_proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
                         ("mlp.fc2", "mlp.c_proj"), ("layer_norm1", "ln_1"),
                         ("layer_norm2", "ln_2")):  # fmt: skip
                made[f"{new}.{b}.{leaf}"] = state[f"{old}.{a}.{leaf}"]
    return made


def file_of(pipe):
    """Return a whole pipeline under the names of a single file."""
    up = [bool(getattr(block, "attentions", None)) for block in pipe.unet.up_blocks]
    layers = pipe.unet.config.layers_per_block
    state = {f"model.diffusion_model.{unet_name(n, layers, up)}": v
             for n, v in pipe.unet.state_dict().items()}  # fmt: skip
    blocks = len(pipe.vae.config.block_out_channels)
    for name, value in pipe.vae.state_dict().items():
        name, value = vae_tensor(name, value, blocks)
        state[f"first_stage_model.{name}"] = value
    first = pipe.text_encoder.state_dict()
    state |= {f"conditioner.embedders.0.transformer.text_model.{n.removeprefix('text_model.')}": v
              for n, v in first.items()}  # fmt: skip
    second = open_clip({n.removeprefix("text_model."): v
                        for n, v in pipe.text_encoder_2.state_dict().items()})  # fmt: skip
    state |= {f"conditioner.embedders.1.model.{n}": v for n, v in second.items()}
    return {name: value.clone().contiguous() for name, value in state.items()}
