"""LoRA files of Wan2.1 as people have them: step-distilled ones with differences, kohya's names."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_rcm_sampler import latents_of
from tiny_models import item, model_of

from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

SAMPLER = RcmSampler(kind="rcm")
RANK, ALPHA, SCALE = 3, 6.0, 0.5


def distilled(shapes):
    """Tensors of a file, and by diffusers' name what each is to add at scale 1."""
    down, up = torch.randn(RANK, 24), torch.randn(24, RANK)
    small, large = torch.randn(RANK, 16, 1, 2, 2), torch.randn(24, RANK, 1, 1, 1)
    differences = {
        "blocks.0.cross_attn.k.diff_b": "blocks.0.attn2.to_k.bias",
        "blocks.1.self_attn.norm_q.diff": "blocks.1.attn1.norm_q.weight",
        "blocks.1.norm3.diff_b": "blocks.1.norm2.bias",
        "blocks.0.modulation.diff": "blocks.0.scale_shift_table",
        "head.modulation.diff": "scale_shift_table",
        "blocks.1.ffn.0.diff": "blocks.1.ffn.net.0.proj.weight",
    }
    tensors = {old: 0.1 * torch.randn(shapes[new]) for old, new in differences.items()}
    updates = {new: tensors[old] for old, new in differences.items()}
    tensors |= {"blocks.0.cross_attn.k.lora_down.weight": down,
                "blocks.0.cross_attn.k.lora_up.weight": up,
                "blocks.0.cross_attn.k.alpha": torch.tensor(ALPHA),
                "patch_embedding.lora_A.weight": small,
                "patch_embedding.lora_B.weight": large}  # fmt: skip
    updates["blocks.0.attn2.to_k.weight"] = ALPHA / RANK * up @ down
    updates["patch_embedding.weight"] = torch.einsum("drxyz,rctuv->dctuv", large, small)
    return tensors, updates


def flattened(name):
    """kohya's spelling: the module's dots are underscores."""
    for end in (".lora_down.weight", ".lora_up.weight", ".alpha", ".lora_A.weight",
                ".lora_B.weight", ".diff_b", ".diff"):  # fmt: skip
        if name.endswith(end):
            return f"lora_unet_{name.removesuffix(end).replace('.', '_')}{end}"
    raise AssertionError(name)


@pytest.mark.parametrize("names", ["diffusion_model", "kohya"])
def test_the_merged_network(names, wan, tmp_path, monkeypatch):
    root, _ = wan
    state = load_file(root / "transformer" / "diffusion_pytorch_model.safetensors")
    tensors, updates = distilled({name: value.shape for name, value in state.items()})
    spelled = flattened if names == "kohya" else lambda name: f"diffusion_model.{name}"
    save_file(
        {spelled(n): v.contiguous() for n, v in tensors.items()}, tmp_path / "lora.safetensors"
    )
    entry = {"lora": str(tmp_path / "lora.safetensors"), "lora_scale": SCALE}
    got, _ = latents_of(model_of("wan", root, SAMPLER, **entry), [item()], monkeypatch)
    monkeypatch.undo()
    merged = {n: v + SCALE * updates[n] if n in updates else v for n, v in state.items()}
    save_file(merged, tmp_path / "merged.safetensors")
    whole = model_of("wan", root, SAMPLER, transformer=str(tmp_path / "merged.safetensors"))
    expected, _ = latents_of(whole, [item()], monkeypatch)
    assert (got - expected).abs().max() < 1e-5 * float(expected.abs().max())
    monkeypatch.undo()
    plain, _ = latents_of(model_of("wan", root, SAMPLER), [item()], monkeypatch)
    assert (got - plain).abs().max() > 1e-2


@pytest.mark.parametrize(("tensors", "said"), [
    ({"blocks.0.cross_attn.k.diff_b": torch.zeros(7)},
     r"blocks\.0\.attn2\.to_k\.bias \(a difference of \(7,\), expected \(24,\)\)"),
    ({"blocks.7.norm3.diff": torch.zeros(24)}, r"blocks\.7\.norm2\.weight \(no such layer\)"),
    ({"blocks.0.cross_attn.k.alpha": torch.zeros(())}, r"to_k\.weight \(one half only\)"),
    ({"blocks.0.cross_attn.k.lora_A.weight": torch.zeros(3),
      "blocks.0.cross_attn.k.lora_B.weight": torch.zeros(24, 3)}, r"\(24x3 by 3, expected \(24, "),
    ({"blocks.0.cross_attn.k.lora_A.weight": torch.zeros(3, 24),
      "blocks.0.cross_attn.k.lora_B.weight": torch.zeros(24, 3),
      "blocks.0.cross_attn.k.alpha": torch.zeros(3)}, r"an alpha of \(3,\), expected one number"),
    ({"blocks.0.cross_attn.k.diff_b": torch.zeros(24),
      "lora_unet_blocks_0_cross_attn_k.diff_b": torch.zeros(24)},
     r"expected one tensor, got 'blocks.*diff_b' and 'lora_unet_blocks_0_cross_attn_k\.diff_b'"),
    ({"lora_unet_blocks_0_surprise.lora_A.weight": torch.zeros(3, 3),
      "lora_unet_blocks_0_surprise.lora_B.weight": torch.zeros(3, 3)}, r"surprise.* \(no such"),
])  # fmt: skip
def test_what_does_not_fit(tensors, said, wan, tmp_path):
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=said):
        model_of("wan", wan[0], SAMPLER, lora=str(tmp_path / "lora.safetensors"))
