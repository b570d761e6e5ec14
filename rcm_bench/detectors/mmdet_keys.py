"""mmdetection's names of Mask2Former's weights, in the names of the hub's checkpoints.

The map is complete: every weight of the model has its name in the file, and every name of the file
has its place. Three things are laid out differently:

- Swin's query, key and value are one matrix there, three here; so is the decoder's self-attention.
- Patch merging gathers 2x2 neighbours by ``torch.nn.Unfold`` there: channel by channel, and inside
  a channel row by row. Here it is neighbour by neighbour, and column by column.
- The index of relative positions is stored there and computed here; it is checked and dropped.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rcm_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["same", "thirds", "unfolded", "index"]
_BACKBONE = "model.pixel_level_module.encoder"
_PIXEL = "model.pixel_level_module.decoder"
_DECODER = "model.transformer_module.decoder"
_HEAD = "panoptic_head"
_MAX_LISTED = 20
# Neighbours (0, 0), (0, 1), (1, 0), (1, 1) there are (0, 0), (1, 0), (0, 1), (1, 1) here.
_NEIGHBOURS = [0, 2, 1, 3]


class Entry(NamedTuple):
    """One weight of the file.

    Attributes:
        source: Its name in mmdetection.
        targets: Its names in the hub's checkpoint: none for an index, three for thirds.
        layout: How it must be rearranged.
    """

    source: str
    targets: tuple[str, ...]
    layout: Layout = "same"


def key_map(config: Any) -> list[Entry]:
    """Return all weights of the file for an architecture (a ``Mask2FormerConfig``)."""
    return [*_swin(config.backbone_config), *_pixel_decoder(config), *_decoder(config)]


def _pair(source: str, *targets: str, layout: Layout = "same") -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield Entry(f"{source}.{part}", tuple(f"{name}.{part}" for name in targets), layout)


def _swin(config: Any) -> Iterator[Entry]:
    yield from _pair(
        "backbone.patch_embed.projection", f"{_BACKBONE}.embeddings.patch_embeddings.projection"
    )
    yield from _pair("backbone.patch_embed.norm", f"{_BACKBONE}.embeddings.norm")
    for stage, depth in enumerate(config.depths):
        there, here = f"backbone.stages.{stage}", f"{_BACKBONE}.encoder.layers.{stage}"
        for block in range(depth):
            yield from _swin_block(f"{there}.blocks.{block}", f"{here}.blocks.{block}")
        if stage < len(config.depths) - 1:
            yield from _pair(
                f"{there}.downsample.norm", f"{here}.downsample.norm", layout="unfolded"
            )
            yield Entry(
                f"{there}.downsample.reduction.weight",
                (f"{here}.downsample.reduction.weight",),
                "unfolded",
            )
        yield from _pair(
            f"backbone.norm{stage}", f"{_BACKBONE}.hidden_states_norms.stage{stage + 1}"
        )


def _swin_block(there: str, here: str) -> Iterator[Entry]:
    table = "relative_position_bias_table"
    yield from _pair(f"{there}.norm1", f"{here}.layernorm_before")
    yield Entry(f"{there}.attn.w_msa.{table}", (f"{here}.attention.self.{table}",))
    yield Entry(f"{there}.attn.w_msa.relative_position_index", (), "index")
    names = [f"{here}.attention.self.{part}" for part in ("query", "key", "value")]
    yield from _pair(f"{there}.attn.w_msa.qkv", *names, layout="thirds")
    yield from _pair(f"{there}.attn.w_msa.proj", f"{here}.attention.output.dense")
    yield from _pair(f"{there}.norm2", f"{here}.layernorm_after")
    yield from _pair(f"{there}.ffn.layers.0.0", f"{here}.intermediate.dense")
    yield from _pair(f"{there}.ffn.layers.1", f"{here}.output.dense")


def _pixel_decoder(config: Any) -> Iterator[Entry]:
    source = f"{_HEAD}.pixel_decoder"
    for level in range(3):
        yield from _pair(
            f"{source}.input_convs.{level}.conv", f"{_PIXEL}.input_projections.{level}.0"
        )
        yield from _pair(
            f"{source}.input_convs.{level}.gn", f"{_PIXEL}.input_projections.{level}.1"
        )
    yield Entry(f"{source}.level_encoding.weight", (f"{_PIXEL}.level_embed",))
    for layer in range(config.encoder_layers):
        there, here = f"{source}.encoder.layers.{layer}", f"{_PIXEL}.encoder.layers.{layer}"
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            yield from _pair(f"{there}.attentions.0.{part}", f"{here}.self_attn.{part}")
        yield from _pair(f"{there}.norms.0", f"{here}.self_attn_layer_norm")
        yield from _feed_forward(there, here)
        yield from _pair(f"{there}.norms.1", f"{here}.final_layer_norm")
    for there, here in (("lateral_convs", "adapter_1"), ("output_convs", "layer_1")):
        yield Entry(f"{source}.{there}.0.conv.weight", (f"{_PIXEL}.{here}.0.weight",))
        yield from _pair(f"{source}.{there}.0.gn", f"{_PIXEL}.{here}.1")
    yield from _pair(f"{source}.mask_feature", f"{_PIXEL}.mask_projection")


def _decoder(config: Any) -> Iterator[Entry]:
    # transformers counts the prediction before the first layer as a layer.
    for layer in range(config.decoder_layers - 1):
        there = f"{_HEAD}.transformer_decoder.layers.{layer}"
        here = f"{_DECODER}.layers.{layer}"
        cross, own = f"{there}.attentions.0.attn", f"{there}.attentions.1.attn"
        names = [f"{here}.self_attn.{part}_proj" for part in ("q", "k", "v")]
        for part in ("weight", "bias"):
            yield Entry(f"{cross}.in_proj_{part}", (f"{here}.cross_attn.in_proj_{part}",))
            yield Entry(f"{own}.in_proj_{part}", tuple(f"{n}.{part}" for n in names), "thirds")
        yield from _pair(f"{cross}.out_proj", f"{here}.cross_attn.out_proj")
        yield from _pair(f"{own}.out_proj", f"{here}.self_attn.out_proj")
        norms = ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm")
        for place, norm in enumerate(norms):
            yield from _pair(f"{there}.norms.{place}", f"{here}.{norm}")
        yield from _feed_forward(there, here)
    yield from _pair(f"{_HEAD}.transformer_decoder.post_norm", f"{_DECODER}.layernorm")
    queries = "model.transformer_module"
    yield Entry(f"{_HEAD}.query_embed.weight", (f"{queries}.queries_embedder.weight",))
    yield Entry(f"{_HEAD}.query_feat.weight", (f"{queries}.queries_features.weight",))
    yield Entry(f"{_HEAD}.level_embed.weight", (f"{queries}.level_embed.weight",))
    yield from _pair(f"{_HEAD}.cls_embed", "class_predictor")
    for place in range(3):
        here = f"{_DECODER}.mask_predictor.mask_embedder.{place}.0"
        yield from _pair(f"{_HEAD}.mask_embed.{2 * place}", here)


def _feed_forward(there: str, here: str) -> Iterator[Entry]:
    yield from _pair(f"{there}.ffns.0.layers.0.0", f"{here}.fc1")
    yield from _pair(f"{there}.ffns.0.layers.1", f"{here}.fc2")


def to_hub(weights: "Mapping[str, Tensor]", config: Any, where: str) -> "dict[str, Tensor]":
    """Give mmdetection's weights the names and the layout of the hub's checkpoints.

    Args:
        weights: The file's ``state_dict``.
        config: The architecture, a ``Mask2FormerConfig``.
        where: The file, for messages.

    Raises:
        UserError: A name is missing, unexpected, or its weight cannot be rearranged; all of them
            are listed.
    """
    entries = key_map(config)
    known = {entry.source for entry in entries}
    faults = [f"missing: {entry.source}" for entry in entries if entry.source not in weights]
    faults += [f"unexpected: {name}" for name in weights if name not in known]
    if not faults:
        window = config.backbone_config.window_size
        faults = [f for entry in entries if (f := _misfit(entry, weights[entry.source], window))]
    if faults:
        raise UserError(listed(f"{where}: expected mmdetection's Mask2Former Swin-S", faults))
    found: dict[str, Tensor] = {}
    for entry in entries:
        parts = _rearranged(weights[entry.source], entry)
        found.update(zip(entry.targets, parts, strict=True))
    return found


def listed(head: str, faults: list[str]) -> str:
    """Spell a message with one line for each fault, the first twenty of them."""
    more = len(faults) - _MAX_LISTED
    rest = [f"and {more} more"] if more > 0 else []
    return "\n  ".join([f"{head}; {len(faults)} names do not fit:", *faults[:_MAX_LISTED], *rest])


def _misfit(entry: Entry, weight: "Tensor", window: int) -> str:
    """Say why a weight cannot be rearranged, or nothing; its full shape is checked in loading."""
    shape = tuple(weight.shape)
    if entry.layout == "thirds" and (not shape or shape[0] % 3):
        return f"misshapen: {entry.source}: expected three equal parts, got {shape}"
    if entry.layout == "unfolded" and (not shape or shape[-1] % 4):
        return f"misshapen: {entry.source}: expected four equal parts, got {shape}"
    if entry.layout == "index" and not _is_standard_index(weight, window):
        return f"unexpected values: {entry.source}: not the index of a {window}x{window} window"
    return ""


def _is_standard_index(index: "Tensor", window: int) -> bool:
    """Compare with (dy + w - 1) (2 w - 1) + dx + w - 1 for all pairs of places in a window."""
    import torch

    place = torch.arange(window)
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    standard = (dy + window - 1) * (2 * window - 1) + dx + window - 1
    return index.shape == standard.shape and bool((index.cpu() == standard).all())


def _rearranged(weight: "Tensor", entry: Entry) -> "list[Tensor]":
    if entry.layout == "index":
        return []
    if entry.layout == "thirds":
        return [part.clone() for part in weight.chunk(3)]
    if entry.layout == "unfolded":
        # (..., channel, neighbour) there, (..., neighbour, channel) here
        there = weight.reshape(*weight.shape[:-1], -1, 4)[..., _NEIGHBOURS]
        return [there.transpose(-1, -2).reshape(weight.shape)]
    return [weight]
