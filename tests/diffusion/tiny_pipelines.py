"""Tiny random pipelines of other kinds, saved by diffusers' own calls: SDXL, SD3, FLUX, SANA."""

import torch
from tiny_models import SENTENCES, WAN_CONFIG, randomized, seeded, text_encoder, tokenizer
from tiny_models import vae as wan_vae


def clip_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    special = ["<|startoftext|>", "<|endoftext|>"]
    made = Tokenizer(models.BPE(unk_token=special[1], end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(SENTENCES * 5, trainer)
    import json

    model = json.loads(made.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=16)


def clip_text(projection, width=32):
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=128, hidden_size=width, intermediate_size=37, num_hidden_layers=2,
        num_attention_heads=4, projection_dim=width, max_position_embeddings=16,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    kind = "CLIPTextModelWithProjection" if projection else "CLIPTextModel"
    return getattr(transformers, kind)(config).eval()


def autoencoder(channels):
    from diffusers import AutoencoderKL

    return randomized(AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=channels, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        shift_factor=0.06,
    ))  # fmt: skip


def sdxl():
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, sample_size=16, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1), projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=autoencoder(4), unet=randomized(unet), text_encoder=clip_text(False),
        text_encoder_2=clip_text(True), tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"), add_watermarker=False,
    )  # fmt: skip


def sd3():
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    net = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
        pooled_projection_dim=32, out_channels=4,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=randomized(net), scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(4), text_encoder=clip_text(True, 16), tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(True, 16), tokenizer_2=clip_tokenizer(),
        text_encoder_3=text_encoder("T5EncoderModel"), tokenizer_3=tokenizer(),
    )  # fmt: skip


def flux():
    from diffusers import FlowMatchEulerDiscreteScheduler as Scheduler
    from diffusers import FluxPipeline, FluxTransformer2DModel

    net = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        scheduler=Scheduler(), vae=autoencoder(4), text_encoder=clip_text(False),
        tokenizer=clip_tokenizer(), text_encoder_2=text_encoder("T5EncoderModel"),
        tokenizer_2=tokenizer(), transformer=randomized(net),
    )  # fmt: skip


def sana(sprint=False):
    import diffusers
    import transformers

    vae = diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"), decoder_block_types=(
            "ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1], downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )  # fmt: skip
    net = diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2,
        attention_head_dim=4, num_cross_attention_heads=2, cross_attention_head_dim=4,
        cross_attention_dim=8, caption_channels=8, sample_size=32, guidance_embeds=sprint,
        qk_norm="rms_norm_across_heads" if sprint else None,
    )  # fmt: skip
    config = transformers.Gemma2Config(
        head_dim=16, hidden_size=8, intermediate_size=8, num_attention_heads=2,
        num_hidden_layers=1, num_key_value_heads=2, vocab_size=128,
    )  # fmt: skip
    scheduler = (
        diffusers.SCMScheduler() if sprint else diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
    )
    kind = diffusers.SanaSprintPipeline if sprint else diffusers.SanaPipeline
    return kind(
        transformer=randomized(net), vae=randomized(vae), scheduler=scheduler,
        text_encoder=transformers.Gemma2Model(config).eval(), tokenizer=tokenizer(),
    )  # fmt: skip


def ltx():
    import diffusers

    flat, scaling = (1,) * 5, (True, True, False, False)
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=flat, decoder_layers_per_block=flat, spatio_temporal_scaling=scaling,
        decoder_spatio_temporal_scaling=scaling, decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, patch_size=1, patch_size_t=1,
    )  # fmt: skip
    net = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=1, caption_channels=32,
    )  # fmt: skip
    return diffusers.LTXPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=randomized(vae),
        text_encoder=text_encoder("T5EncoderModel"), tokenizer=tokenizer(),
        transformer=randomized(net),
    )  # fmt: skip


def anyflow():
    """A student of Wan2.1 that is told two times, as NVIDIA publishes it in diffusers' layout."""
    import diffusers

    config = {k: v for k, v in WAN_CONFIG.items() if k != "qk_norm"}
    return diffusers.AnyFlowPipeline(
        transformer=randomized(diffusers.AnyFlowTransformer3DModel(**config)), vae=wan_vae(),
        text_encoder=text_encoder("UMT5EncoderModel"), tokenizer=tokenizer(),
        scheduler=diffusers.FlowMapEulerDiscreteScheduler(),
    )  # fmt: skip


MAKERS = {"sdxl": sdxl, "sd3": sd3, "flux": flux, "sana": sana,
          "sana-sprint": lambda: sana(sprint=True), "ltx": ltx, "anyflow": anyflow}  # fmt: skip


def save(name, folder):
    """Save a pipeline and return it."""
    from rcm_bench.diffusion.quiet import quiet

    seeded()
    with quiet(), torch.no_grad():
        pipe = MAKERS[name]()
        pipe.save_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe
