"""The settings on which published VBench numbers disagree, as named conventions.

One and the same model has been printed 1.5 points apart: other prompts, other seeds, other numbers
of videos for flickering, with or without the static filter. A preset fixes all of them; its
fingerprint is part of a run's protocol.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from rcm_bench.canonical import digest_of
from rcm_bench.errors import unknown_name
from rcm_bench.seeds import RECIPE, seed_of

Rewriting = Literal["none", "gpt-4o", "wan-qwen", "hunyuan"]
Seeds = Literal["rcm-bench-1", "100000 i + j"]

REWRITTEN: Mapping[Rewriting, tuple[str, str]] = {
    "gpt-4o": (
        "gpt_enhanced_prompts/all_dimension_longer.txt",
        "58ed0665de52c1bdb4820af01327f5cc1138bedbeedcc63902751056f6bf5768",
    ),
    "wan-qwen": (
        "Wan2.1-T2V-1.3B/all_dimension_aug_wanx_seed42.txt",
        "54fb940aea8f1ede1e8728f62d3e67efacdd7b341fb8a6c91308bcba874d5d5d",
    ),
    "hunyuan": (
        "hunyuan_all_dimension.txt",
        "bb1f6c7c27390eb268ef1e25faa196169ee7dc8a30741290bdd9c30c5970d9fe",
    ),
}
"""Files of rewritten prompts in VBench's repository (prompts/augmented_prompts), with SHA-256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One convention.

    Args:
        rewriting: Whose rewriting of the prompts the model sees; files are named by the original.
        seeds: ``"100000 i + j"``: i the row of the prompt, j the video; or the harness's recipe.
        videos: Videos of each prompt.
        flickering_videos: Videos of each prompt of temporal flickering.
        static_filter: Whether flickering is measured on the first five static videos only.
        edition: ``"plain"`` VBench also for clips of 5 s and more, or ``"long"`` (VBench-Long).
        source: Where the convention is written down, and what is not stated there.
    """

    rewriting: Rewriting = "none"
    seeds: Seeds = RECIPE  # type: ignore[assignment]
    videos: int = 5
    flickering_videos: int = 25
    static_filter: bool = True
    edition: Literal["plain", "long"] = "plain"
    source: str = ""

    def fingerprint(self) -> str:
        """Return a short hash of all that the preset fixes; its source is no part of it."""
        fixed = {name: value for name, value in asdict(self).items() if name != "source"}
        return digest_of(fixed)[:12]

    def seed(self, prompt: str, row: int, index: int) -> int:
        """Return the seed of one video.

        Args:
            prompt: The original prompt.
            row: Its first row in VBench's file, from 0.
            index: Which of its videos, from 0.
        """
        return 100_000 * row + index if self.seeds == "100000 i + j" else seed_of(prompt, index)


PRESETS: Mapping[str, Preset] = {
    "vbench": Preset(source="VBench's README: original prompts, 5 videos, 25 for flickering"),
    "gpt-4o": Preset(
        rewriting="gpt-4o",
        source="VBench's GPT-4o prompts, as rCM and Self-Forcing use them (arXiv 2510.08431v3, "
        "appendix D); seeds and the number of flickering videos are not stated there",
    ),
    "vbench-team-wan": Preset(
        rewriting="wan-qwen",
        seeds="100000 i + j",
        source="VBench's own evaluation of Wan2.1-T2V-14B (its issue 163); up to 5 videos of each "
        "prompt, of flickering too; whether these were filtered is not stated",
        flickering_videos=5,
    ),
    "hunyuan": Preset(rewriting="hunyuan", source="VBench's prompts as HunyuanVideo rewrites them"),
    "five-unfiltered": Preset(
        flickering_videos=5,
        static_filter=False,
        source="submissions that score five videos of flickering without the static filter",
    ),
    "long": Preset(
        edition="long",
        source="VBench's FAQ: clips of 5.0 s and more go to VBench-Long (Wan2.1's 81 frames at 16 "
        "frames/s are 5.06 s, and papers use plain VBench)",
    ),
}
DEFAULT = "vbench"
I2V_PRESETS: Mapping[str, Preset] = {
    "vbench-i2v": Preset(
        flickering_videos=5,
        static_filter=False,
        source="VBench-I2V's README: original prompts, 5 videos of each, flickering too",
    ),
}
I2V_DEFAULT = "vbench-i2v"
"""Conventions of VBench-I2V; which crops of its images are used is said by its benchmark."""


def find_preset(name: str, where: str, known: Mapping[str, Preset] = PRESETS) -> Preset:
    """Return a preset by its name.

    Args:
        name: Its name.
        where: File and key, for messages.
        known: The conventions of which benchmark.

    Raises:
        UserError: There is none of that name.
    """
    if name not in known:
        raise unknown_name(where, "VBench preset", name, known)
    return known[name]
