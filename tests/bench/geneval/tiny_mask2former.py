"""A tiny random Mask2Former that finds things, and its weights as mmdetection would write them."""

import torch
from torch import nn

from rcm_bench.detectors.mask2former_weights import coco_names


def tiny_config(**changes):
    from transformers import Mask2FormerConfig, SwinConfig

    backbone = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2],
        window_size=3, out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    return Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=48, encoder_layers=2, decoder_layers=3, num_attention_heads=2,
        dim_feedforward=40, num_queries=12,
        **{"id2label": dict(enumerate(coco_names())), **changes},
    )  # fmt: skip


def tiny_model(seed, sharpness=4.0):
    """Random weights; ``sharpness`` spreads the class scores, so that some pass the threshold."""
    from transformers import Mask2FormerForUniversalSegmentation

    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(tiny_config()).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1 or "level_embed" in name or "table" in name:
                weight.add_(0.3 * torch.randn_like(weight))
        model.class_predictor.weight.normal_(std=sharpness / 4)
        if sharpness > 1:
            model.class_predictor.bias[-1] -= 9  # "nothing" shall not win
        predictor = model.model.transformer_module.decoder.mask_predictor
        linear_layers(predictor)[2].weight.normal_(std=1.0)
    return model


def busy_model():
    """A fresh random model that is sure of something on noise: of some seeds none is."""
    for _ in range(50):
        model = tiny_model(torch.seed() % 2**31)
        with torch.inference_mode():
            out = model(pixel_values=torch.randn(4, 3, 160, 192))
        sure = out.class_queries_logits.softmax(-1)[..., :-1].amax(-1) > 0.65  # (4, queries)
        there = (out.masks_queries_logits > 0).flatten(2).float().mean(2) > 0.1
        if int((sure & there).sum(1).min()) >= 3:
            return model
    raise AssertionError("no random model finds anything")


def linear_layers(predictor):
    """The three layers that make a mask's embedding."""
    return [m for m in predictor.mask_embedder.modules() if isinstance(m, nn.Linear)]


def mmdet_weights(model):
    """The state dict under mmdetection's names, from the modules of the model themselves."""
    found = {}

    def put(name, module):
        for part in ("weight", "bias"):
            if getattr(module, part, None) is not None:
                found[f"{name}.{part}"] = getattr(module, part).detach().clone()

    def put_joined(name, parts, spell=".{}"):
        for part in ("weight", "bias"):
            joined = torch.cat([getattr(module, part).detach() for module in parts])
            found[name + spell.format(part)] = joined

    _put_swin(model.model.pixel_level_module.encoder, put, put_joined, found)
    pixel = model.model.pixel_level_module.decoder
    root = "panoptic_head.pixel_decoder"
    for level, (conv, norm) in enumerate(pixel.input_projections):
        put(f"{root}.input_convs.{level}.conv", conv)
        put(f"{root}.input_convs.{level}.gn", norm)
    found[f"{root}.level_encoding.weight"] = pixel.level_embed.detach().clone()
    for n, layer in enumerate(pixel.encoder.layers):
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            put(f"{root}.encoder.layers.{n}.attentions.0.{part}", getattr(layer.self_attn, part))
        put(f"{root}.encoder.layers.{n}.norms.0", layer.self_attn_layer_norm)
        put(f"{root}.encoder.layers.{n}.ffns.0.layers.0.0", layer.fc1)
        put(f"{root}.encoder.layers.{n}.ffns.0.layers.1", layer.fc2)
        put(f"{root}.encoder.layers.{n}.norms.1", layer.final_layer_norm)
    for name, module in (("lateral_convs", pixel.adapter_1), ("output_convs", pixel.layer_1)):
        put(f"{root}.{name}.0.conv", module[0])
        put(f"{root}.{name}.0.gn", module[1])
    put(f"{root}.mask_feature", pixel.mask_projection)
    _put_decoder(model, put, put_joined, found)
    return found


def _put_swin(encoder, put, put_joined, found):
    swin = encoder.swin
    put("backbone.patch_embed.projection", swin.embeddings.patch_embeddings.projection)
    put("backbone.patch_embed.norm", swin.embeddings.norm)
    for n, layer in enumerate(swin.encoder.layers):
        for k, block in enumerate(layer.blocks):
            root, attention = f"backbone.stages.{n}.blocks.{k}", block.attention
            put(f"{root}.norm1", block.layernorm_before)
            bias = attention.relative_position_bias
            window = bias.window_size[0] ** 2
            table = bias.relative_position_bias_table.detach().clone()
            found[f"{root}.attn.w_msa.relative_position_bias_table"] = table
            index = bias.relative_position_index.view(window, window).clone()
            found[f"{root}.attn.w_msa.relative_position_index"] = index
            parts = [attention.q_proj, attention.k_proj, attention.v_proj]
            put_joined(f"{root}.attn.w_msa.qkv", parts)
            put(f"{root}.attn.w_msa.proj", attention.o_proj)
            put(f"{root}.norm2", block.layernorm_after)
            put(f"{root}.ffn.layers.0.0", block.mlp.fc1)
            put(f"{root}.ffn.layers.1", block.mlp.fc2)
        if layer.downsample is not None:
            root = f"backbone.stages.{n}.downsample"
            norm, reduction = unfolded_merging(layer.downsample)
            put(f"{root}.norm", norm)
            put(f"{root}.reduction", reduction)
    for n in range(4):
        put(f"backbone.norm{n}", encoder.hidden_states_norms[f"stage{n + 1}"])


def unfolded_merging(merging):
    """Norm and linear map of a patch merging for features in the order of ``torch.nn.Unfold``.

    Found by sending numbered channels through both ways of gathering 2x2 neighbours.
    """
    width = merging.norm.weight.shape[0] // 4
    numbered = torch.arange(4 * width, dtype=torch.float32).view(1, width, 2, 2)  # N C H W
    unfolded = nn.functional.unfold(numbered, kernel_size=2, stride=2)[0, :, 0].long()
    x = numbered.permute(0, 2, 3, 1)  # N H W C
    gathered = torch.cat([x[:, i, j] for j in range(2) for i in range(2)], -1)[0].long()
    place = {int(number): k for k, number in enumerate(gathered)}
    order = torch.tensor([place[int(number)] for number in unfolded])
    norm, reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)
    with torch.no_grad():
        norm.weight.copy_(merging.norm.weight[order])
        norm.bias.copy_(merging.norm.bias[order])
        reduction.weight.copy_(merging.reduction.weight[:, order])
    return norm, reduction


def _put_decoder(model, put, put_joined, found):
    module = model.model.transformer_module
    root = "panoptic_head.transformer_decoder"
    for n, layer in enumerate(module.decoder.layers):
        cross, own = (f"{root}.layers.{n}.attentions.{k}.attn" for k in (0, 1))
        for part in ("weight", "bias"):
            weight = getattr(layer.cross_attn, f"in_proj_{part}")
            found[f"{cross}.in_proj_{part}"] = weight.detach().clone()
        put(f"{cross}.out_proj", layer.cross_attn.out_proj)
        mine = layer.self_attn
        put_joined(f"{own}.in_proj_", [mine.q_proj, mine.k_proj, mine.v_proj], spell="{}")
        put(f"{own}.out_proj", mine.out_proj)
        norms = (layer.cross_attn_layer_norm, layer.self_attn_layer_norm, layer.final_layer_norm)
        for k, norm in enumerate(norms):
            put(f"{root}.layers.{n}.norms.{k}", norm)
        put(f"{root}.layers.{n}.ffns.0.layers.0.0", layer.fc1)
        put(f"{root}.layers.{n}.ffns.0.layers.1", layer.fc2)
    put(f"{root}.post_norm", module.decoder.layernorm)
    put("panoptic_head.query_embed", module.queries_embedder)
    put("panoptic_head.query_feat", module.queries_features)
    put("panoptic_head.level_embed", module.level_embed)
    put("panoptic_head.cls_embed", model.class_predictor)
    for k, layer in enumerate(linear_layers(module.decoder.mask_predictor)):
        put(f"panoptic_head.mask_embed.{2 * k}", layer)
