"""What fp16 costs a student: validation of networks that all round to the same stored weights.

    python reports/gallery/methods/rounding.py

Writes ``rounding.csv`` beside itself: share of right images (144 prompts for each number of steps)
of shipped students as stored, and of three draws each of float32 weights, uniform among those that
round to the stored ones. A CPU takes some minutes.
"""

import csv
from pathlib import Path

import torch
from torch import Tensor

from rcm_bench.validation import Validation
from rcm_bench.weights_files import shipped_weights
from rcm_distill import checkpoint
from rcm_distill.denoiser import network_denoiser

NAMES = "lab-rcm", "lab-scm", "lab-dmd2"
DRAWS = 3


def before_rounding(stored: Tensor, rng: torch.Generator) -> Tensor:
    """Draw float32 numbers that fp16 rounds to the stored ones."""
    places = torch.frexp(stored).exponent.clamp(min=-13) - 11
    spacing = torch.ldexp(torch.ones_like(stored), places)
    drawn = stored + spacing * (torch.rand(stored.shape, generator=rng) - 0.5)
    return torch.where(drawn.half().float() == stored, drawn, stored)


def main() -> None:
    """Validate, and write the table."""
    with Path(__file__).with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        table = None
        for name in NAMES:
            net = checkpoint.load(shipped_weights()[name]).net
            stored = {key: value.clone() for key, value in net.state_dict().items()}
            for draw in range(DRAWS + 1):
                rng = torch.Generator().manual_seed(draw)
                net.load_state_dict(
                    {k: before_rounding(v, rng) if draw else v for k, v in stored.items()}
                )
                found = Validation(teacher=False)(network_denoiser(net, end_time=False), 0)
                row = {"weights": name, "draw": draw or "as stored", **found}
                table = table or csv.DictWriter(file, list(row), lineterminator="\n")
                if file.tell() == 0:
                    table.writeheader()
                table.writerow(row)


if __name__ == "__main__":
    main()
