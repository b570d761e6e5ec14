"""Tiny random pipelines of both families, saved by diffusers' own calls."""

import random

import numpy as np
import torch

SENTENCES = ["a photo of a cat", "a red cube left of a blue sphere", "two dogs on the beach"]
SIZE = {"resolution": [32, 32]}
WAN_CONFIG = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 40,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}


def cosmos_config(channels):
    return {
        "in_channels": channels,
        "out_channels": 16,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "mlp_ratio": 2.0,
        "text_embed_dim": 32,
        "adaln_lora_dim": 4,
        "max_size": (4, 32, 32),
        "patch_size": (1, 2, 2),
        "rope_scale": (1.0, 4.0, 4.0),
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
    }


def tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import T5TokenizerFast

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(SENTENCES * 5, trainer)
    end = [("</s>", made.token_to_id("</s>"))]
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=end)
    return T5TokenizerFast(tokenizer_object=made, extra_ids=0)


def randomized(net):
    """Give every weight a random value: diffusers starts some of them at zero."""
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return net.eval()


def vae():
    from diffusers import AutoencoderKLWan

    return randomized(
        AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        )
    )


def text_encoder(kind):
    import transformers

    config = getattr(transformers, kind.replace("EncoderModel", "Config"))(
        vocab_size=128, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def seeded():
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    torch.manual_seed(seed)


def save_wan(folder):
    """Save a Wan pipeline and return it."""
    from diffusers import UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    seeded()
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=text_encoder("UMT5EncoderModel"),
        transformer=randomized(WanTransformer3DModel(**WAN_CONFIG)),
        vae=vae(),
        scheduler=scheduler,
    )
    pipe.save_pretrained(folder)
    return pipe


def save_cosmos(folder, video=False):
    """Save a Cosmos-Predict2 pipeline and return it."""
    import diffusers

    from rcm_bench.diffusion.quiet import quiet
    from rcm_bench.diffusion.text import NoChecker

    seeded()
    name = "Cosmos2VideoToWorldPipeline" if video else "Cosmos2TextToImagePipeline"
    config = cosmos_config(17 if video else 16)
    with quiet():
        pipe = getattr(diffusers, name)(
            tokenizer=tokenizer(),
            text_encoder=text_encoder("T5EncoderModel"),
            transformer=randomized(diffusers.CosmosTransformer3DModel(**config)),
            vae=vae(),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
            safety_checker=NoChecker(),
        )
        pipe.register_modules(safety_checker=None)
        pipe.save_pretrained(folder)
    pipe.register_modules(safety_checker=NoChecker())
    return pipe


def model_of(kind, root, sampler, folder=None, pickles=(), place="x.yaml:3: models.net", **changes):
    """Make a model entry as the harness does."""
    from rcm_bench import components
    from rcm_bench.types import ModelContext

    found = components.find("models", "model kind", kind, place)
    given = {
        "weights": str(root),
        "dtype": "float32",
        "text_dtype": "float32",
        "max_tokens": 16,
        **SIZE,
        **changes,
    }
    context = ModelContext(place=place, folder=folder or root, pickles=frozenset(pickles))
    return found(found.Settings(**given), sampler, context)


def nearly_all(errors, most):
    """Say whether 98 % are small: where few features are nearly zero, norms enlarge rounding."""
    return np.mean(np.abs(np.asarray(errors)) <= most) >= 0.98


def item(prompt="a photo of a cat", seed=7, steps=2, index=0):
    from rcm_bench.types import WorkItem

    return WorkItem(
        item_id=f"item{seed}",
        sample_key=None,
        model="net",
        sampler="s",
        steps=steps,
        prompt_id=f"{index:05d}-x",
        prompt=prompt,
        prompt_rewritten=prompt,
        seed_index=0,
        seed=seed,
        batch_id="0",
    )
