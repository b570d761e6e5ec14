"""Wan2.1 text-to-video through diffusers' own classes."""

from typing import ClassVar

from rcm_bench.diffusion.families import WAN, Family
from rcm_bench.diffusion.model import DiffusionModel
from rcm_bench.diffusion.settings import DiffusionSettings


class Model(DiffusionModel):
    """Wan2.1 text-to-video through diffusers' own classes."""

    Settings = DiffusionSettings
    family: ClassVar[Family] = WAN
