"""Names of tensors in three layouts, in both directions: diffusers, original code, NVlabs/rcm.

The layout of NVlabs/rcm is the original one behind a prefix (``net.``), in which Wan2.1's patch
embedding is a matrix (D, C kt kh kw) in place of a convolution (D, C, kt, kh, kw): the same
numbers in the same order. NVlabs/FastGen holds diffusers' own network, as ``transformer.``, behind
the network's name where a file has several.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

Layout = Literal["diffusers", "original", "rcm"]
PATCH = "patch_embedding.weight"
_LEAF = re.compile(r"(.*?)(\.weight|\.bias)?")
_NUMBER = re.compile(r"\.(\d+)\.")

# Modules, the number of a block as "#": original name, diffusers' name.
_WAN = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
    "blocks.#.modulation": "blocks.#.scale_shift_table",
    "blocks.#.norm3": "blocks.#.norm2",
    "blocks.#.ffn.0": "blocks.#.ffn.net.0.proj",
    "blocks.#.ffn.2": "blocks.#.ffn.net.2",
} | {
    f"blocks.#.{old}.{part}": f"blocks.#.{new}.{name}"
    for old, new in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for part, name in (
        *(("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0")),
        *(("norm_q", "norm_q"), ("norm_k", "norm_k")),
    )
}
_COSMOS = (
    {
        "x_embedder.proj.1": "patch_embed.proj",
        "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
        "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
        "t_embedding_norm": "time_embed.norm",
        "final_layer.adaln_modulation.1": "norm_out.linear_1",
        "final_layer.adaln_modulation.2": "norm_out.linear_2",
        "final_layer.linear": "proj_out",
        "blocks.#.mlp.layer1": "transformer_blocks.#.ff.net.0.proj",
        "blocks.#.mlp.layer2": "transformer_blocks.#.ff.net.2",
    }
    | {
        f"blocks.#.adaln_modulation_{old}.{i}": f"transformer_blocks.#.norm{n}.linear_{i}"
        for n, old in enumerate(("self_attn", "cross_attn", "mlp"), 1)
        for i in (1, 2)
    }
    | {
        f"blocks.#.{old}.{part}": f"transformer_blocks.#.{new}.{name}"
        for old, new in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for part, name in (
            *(("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v")),
            *(("output_proj", "to_out.0"), ("q_norm", "norm_q"), ("k_norm", "norm_k")),
        )
    }
)
_TO_DIFFUSERS = {"wan": _WAN, "cosmos": _COSMOS}
# What training code stores beside the weights: counters, fixed positions, a loss's learned weight.
_NO_WEIGHTS = re.compile(
    r"accum_\w+|pos_embedder\.(seq|dim_spatial_range|dim_temporal_range)|(.*\.)?_extra_state"
    r"|transformer\.logvar_linear\.(weight|bias)"
)
_HELD = "transformer."


def layout_of(names: Iterable[str], prefix: str | None = None) -> Layout:
    """Tell the layout of a file by its names.

    Args:
        names: Names of its tensors.
        prefix: Which network of several was asked for.
    """
    tops = {name.partition(".")[0] for name in names}
    if prefix is not None or "net" in tops:
        return "rcm"
    if tops & {"condition_embedder", "time_embed", "transformer_blocks"}:
        return "diffusers"
    return "original"


def diffusers_names(
    names: Iterable[str], family: str, layout: Layout, prefix: str | None = None
) -> dict[str, str]:
    """Map names of a file to diffusers' names.

    Names that mean no weights of the network (other networks, counters) are left out; a name that
    is in no table stays as it is, to be reported as unexpected.

    Args:
        names: Names of the file's tensors.
        family: ``"wan"`` or ``"cosmos"``.
        layout: Their layout.
        prefix: Prefix of the network in rcm's layout; ``"net"`` by default.
    """
    if layout == "diffusers":
        return {name: name for name in names}
    head = f"{prefix or 'net'}." if layout == "rcm" else ""
    table = _TO_DIFFUSERS[family]
    found = {}
    for name in names:
        bare = name.removeprefix(head)
        if not name.startswith(head) or _NO_WEIGHTS.fullmatch(bare):
            continue
        found[name] = _translate(bare.removeprefix(_HELD), table)
    return found


def original_names(names: Iterable[str], family: str, prefix: str = "") -> dict[str, str]:
    """Map diffusers' names back to the original ones, behind a prefix such as ``"net."``."""
    table = {new: old for old, new in _TO_DIFFUSERS[family].items()}
    return {name: prefix + _translate(name, table) for name in names}


def _translate(name: str, table: Mapping[str, str]) -> str:
    match = _LEAF.fullmatch(name)
    assert match is not None
    module, leaf = match.group(1), match.group(2) or ""
    number = _NUMBER.search(f"{module}.")
    key, block = module, ""
    if number is not None and module.startswith(("blocks.", "transformer_blocks.")):
        block = number.group(1)
        key = module.replace(f".{block}.", ".#.", 1)
    if key not in table:
        return name
    return table[key].replace("#", block) + leaf
