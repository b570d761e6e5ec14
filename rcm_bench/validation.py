"""How good a network in training is: the laboratory's tasks on prompts and seeds of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.geneval_rules import judge
from rcm_bench.seeds import seed_of
from rcm_bench.types import Detection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from rcm_distill.denoiser import Denoiser
    from rcm_distill.lab.grammar import Prompt
    from rcm_distill.lab.oracle import SceneReading

SEED = 1000  # prompts and noise of no suite
RECIPE = "rcm-bench-validation-1"
GUIDANCE = 4.0
SHIFT = 3.0
SIGMA_MAX = 1600.0
TEACHER_STEPS = 16
STUDENT_STEPS = (1, 2, 4)
SHOWN = 12
"""Prompts on a sheet of samples: two of each task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Share of right images by number of steps, unweighted over tasks.

    Args:
        teacher: True samples by guided Euler steps, False as a consistency model.
        per_task: Prompts of each task, one image each.
        sheets: Folder for a picture of some samples at each validation: a row for each number of
            steps, the same prompts and noise every time; None for none.
    """

    teacher: bool
    per_task: int = 24
    sheets: Path | None = None

    def __call__(self, denoiser: "Denoiser", step: int) -> dict[str, float]:
        """Sample, read and judge.

        Args:
            denoiser: The averaged network, on its device.
            step: Step of the training; names the sheet, the figures do not depend on it.
        """
        from rcm_distill.lab.grammar import prompt_set
        from rcm_distill.lab.oracle import read
        from rcm_distill.lab.render import to_uint8

        prompts = prompt_set(self.per_task, SEED)
        figures, rows = {}, []
        for steps in (TEACHER_STEPS,) if self.teacher else STUDENT_STEPS:
            images = to_uint8(self._sample(denoiser, prompts, steps))
            figures[f"geneval_{steps}_steps"] = round(_accuracy(prompts, read(images)), 4)
            rows.append(images[:: max(1, len(images) // SHOWN)][:SHOWN])
        if self.sheets is not None:
            _write_sheet(rows, self.sheets / f"{step:07d}.png")
        return figures

    def _sample(self, denoiser: "Denoiser", prompts: "list[Prompt]", steps: int) -> "Tensor":
        """Return images (B, C, S, S) in [-1, 1]."""
        import torch

        from rcm_distill.denoiser import guided
        from rcm_distill.lab.grammar import NULL, encode
        from rcm_distill.lab.layout import SIZE
        from rcm_distill.lab.render import DATA_SCALE
        from rcm_distill.samplers import consistency, euler

        device = next(denoiser.net.parameters()).device  # type: ignore[attr-defined]
        rngs = [torch.Generator().manual_seed(seed_of(p.text, 0, RECIPE)) for p in prompts]
        noise = torch.stack([torch.randn(3, SIZE, SIZE, generator=rng) for rng in rngs]).to(device)
        tokens = encode([prompt.text for prompt in prompts]).to(device)
        with torch.inference_mode():
            if self.teacher:
                strong = guided(denoiser, GUIDANCE, torch.full_like(tokens, NULL))
                times = euler.euler_times(steps, SHIFT)
                x0 = euler.sample(strong, noise, tokens, times=times)
            else:
                times = consistency.consistency_times(steps, SIGMA_MAX)
                x0 = consistency.sample(denoiser, noise, tokens, times=times, rngs=rngs)
        return (x0 / DATA_SCALE).nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0)


def _write_sheet(rows: "list[NDArray[np.uint8]]", path: Path) -> None:
    """Write images (N, S, S, 3) of each row side by side, twice as large."""
    import numpy as np
    from PIL import Image

    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.repeat(2, axis=0).repeat(2, axis=1)).save(path)


def _accuracy(prompts: "list[Prompt]", scenes: "list[SceneReading]") -> float:
    by_task: dict[str, list[bool]] = {}
    for prompt, scene in zip(prompts, scenes, strict=True):
        by_task.setdefault(prompt.task, []).append(_correct(prompt, scene))
    return sum(sum(right) / len(right) for right in by_task.values()) / len(by_task)


def _correct(prompt: "Prompt", scene: "SceneReading") -> bool:
    color = {Detection(name=r.name, score=r.score, box=r.box): r.color for r in scene.objects}
    verdict = judge(list(color), prompt.metadata(), lambda some: [color[d] for d in some])
    return verdict.correct
