"""Cosmos-Predict2 through diffusers' own classes: text-to-image, text- and image-to-video."""

from typing import ClassVar

from rcm_bench.diffusion.families import COSMOS, Family
from rcm_bench.diffusion.model import DiffusionModel
from rcm_bench.diffusion.settings import DiffusionSettings


class Model(DiffusionModel):
    """Cosmos-Predict2 through diffusers' own classes: text-to-image, text- and image-to-video."""

    Settings = DiffusionSettings
    family: ClassVar[Family] = COSMOS
