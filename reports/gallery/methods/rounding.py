"""What storing costs a student: validation of networks that round to its weights, and in 8 bits.

    python reports/gallery/methods/rounding.py

Writes ``rounding.csv`` beside itself: share of right images (144 prompts for each number of steps)
of shipped students as stored, of three draws each of float32 weights, uniform among those that
round to the stored ones, and with 8 bits an element of every matrix. A CPU takes some minutes.
"""

import csv
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rcm_bench.validation import Validation
from rcm_bench.weights_files import shipped_weights
from rcm_distill import checkpoint, eight_bits
from rcm_distill.denoiser import network_denoiser

NAMES = "lab-rcm", "lab-scm", "lab-dmd2"
DRAWS = 3


def before_rounding(stored: Tensor, rng: torch.Generator) -> Tensor:
    """Draw float32 numbers that fp16 rounds to the stored ones."""
    places = torch.frexp(stored).exponent.clamp(min=-13) - 11
    spacing = torch.ldexp(torch.ones_like(stored), places)
    drawn = stored + spacing * (torch.rand(stored.shape, generator=rng) - 0.5)
    return torch.where(drawn.half().float() == stored, drawn, stored)


def in_8_bits(stored: Tensor) -> Tensor:
    """Return what comes back of weights that are kept at 8 bits an element of every matrix."""
    return eight_bits.unpack(eight_bits.pack({"weight": stored}))["weight"]


def main() -> None:
    """Validate, and write the table."""
    with Path(__file__).with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        table = None
        for name in NAMES:
            net = checkpoint.load(shipped_weights()[name]).net
            stored = {key: value.clone() for key, value in net.state_dict().items()}
            ways = {"as stored": lambda weights: weights}
            for draw in range(1, DRAWS + 1):
                rng = torch.Generator().manual_seed(draw)
                ways[str(draw)] = partial(before_rounding, rng=rng)
            for way, change in {**ways, "8 bits": in_8_bits}.items():
                net.load_state_dict({key: change(weights) for key, weights in stored.items()})
                found = Validation(teacher=False)(network_denoiser(net, end_time=False), 0)
                row = {"weights": name, "draw": way, **found}
                table = table or csv.DictWriter(file, list(row), lineterminator="\n")
                if file.tell() == 0:
                    table.writeheader()
                table.writerow(row)


if __name__ == "__main__":
    main()
