"""Keys of a suite's model entry that belong to the kinds ``wan`` and ``cosmos``."""

from typing import Literal

from pydantic import Field

from rcm_bench.suite import Count, Name, Strict

Dtype = Literal["float32", "bfloat16", "float16"]


class DiffusionSettings(Strict):
    """Where weights come from, and the shape of what is sampled."""

    weights: Name = Field(
        description="Folder in diffusers' layout, hub id (with 'revision'), a single .safetensors "
        "file (with 'config'), or 'random'"
    )
    config: Name | None = Field(
        default=None,
        description="With weights in a single file: folder in diffusers' layout, or hub id (with "
        "'revision'), for configurations, tokenizer, scheduler and what the file lacks",
    )
    revision: str | None = Field(
        default=None,
        json_schema_extra={"pattern": "^[0-9a-f]{40}$"},  # said better where it is used
        description="Commit of the hub id: a pinned one, never a branch",
    )
    architecture: Name | None = Field(
        default=None,
        description="Published size: with 'weights: random', or of a 'transformer' of another size "
        "than the folder's, as Cosmos-Predict2 0.6B beside the folder of 2B",
    )
    transformer: Name | None = Field(
        default=None,
        description="A student's transformer in place of the folder's: a folder, a .safetensors "
        "file, a .pt file or a distributed checkpoint; in the layout of diffusers, of the original "
        "code or of NVlabs/rcm",
    )
    prefix: Name | None = Field(
        default=None,
        description="Which of several networks in 'transformer', such as net_ema; net by default",
    )
    second_time: Literal["difference", "end"] | None = Field(
        default=None,
        description="What a second time embedding in 'transformer' sees, for students of mean "
        "velocities from t to r (sampler 'meanflow'): t - r, as NVlabs/FastGen trains Wan2.1, or r",
    )
    lora: Name | None = Field(default=None, description="A .safetensors file of LoRA weights")
    lora_scale: float = Field(default=1.0, description="Factor on the LoRA's update")
    resolution: list[Count] = Field(
        min_length=2, max_length=2, description="Height and width in pixels, multiples of 16"
    )
    frames: Count = Field(default=1, description="Frames: 4k + 1; 1 for an image")
    fps: float | None = Field(default=None, gt=0, description="Frames per second of a video")
    negative_prompt: str = Field(default="", description="What guidance leads away from")
    dtype: Dtype = Field(default="bfloat16", description="Of the transformer")
    text_dtype: Dtype = Field(default="bfloat16", description="Of the text encoder")
    decode_dtype: Dtype = Field(default="float32", description="Of the autoencoder")
    attention: Literal["native", "cudnn", "math"] = Field(
        default="native",
        description="Attention of the transformer: PyTorch's choice, cuDNN's, or plain products",
    )
    compile: Literal["none", "blocks"] = Field(
        default="none", description="Compile each block of the transformer once; rounds differently"
    )
    decoder: Literal["diffusers", "eager", "compiled", "triton"] = Field(
        default="diffusers",
        description="Decoder of the autoencoder: diffusers', or ours with plain, compiled or fused "
        "operations between the convolutions; the same picture, rounded differently",
    )
    autotune: bool = Field(
        default=False,
        description="Let cuDNN time its convolutions and take the fastest: bits may then differ "
        "from process to process",
    )
    max_tokens: Count | None = Field(
        default=None, le=512, description="Text tokens [512, as the published models are trained]"
    )
    image_folder: Name | None = Field(
        default=None,
        description="Image-to-video: PNG files named by the prompts' lines from 00000.png, or "
        "VBench-I2V's own images, which are scaled",
    )
    memory: Literal["auto", "resident", "model", "group"] = Field(
        default="auto",
        description="Weights on the device all the time, one network at a time, or block by block",
    )
