"""Look for large errors of a tangent at drawn times and scenes, where make.py found the largest.

Run from the repository's root: ``python reports/gallery/tangent_precision/drawn.py``. Writes
drawn.csv beside itself; takes two or three minutes of a CPU.
"""

import math

import make
import torch

from rcm_distill.lab.pool import Pool

DRAWS, BATCH = 60, 2
RANGES = {"lab-teacher": (0.01, 0.3), "lab-rcm": (1.2, 1.56), "lab-scm": (1.2, 1.56)}
SHOWN = "fp16 autocast", "bf16 autocast"


def main() -> None:
    """Draw, measure, and write the table."""
    rng = torch.Generator().manual_seed(make.SEED)
    pool, rows = Pool(2000, make.SEED), []
    for subject in make.subjects():
        if subject.name not in RANGES:
            continue
        low, high = RANGES[subject.name]
        for _ in range(DRAWS):
            x0, cond = pool.batch(BATCH, rng)
            t = low + (high - low) * torch.rand((), generator=rng).item()
            x_t = math.cos(t) * x0 + math.sin(t) * torch.randn(x0.shape, generator=rng)
            found = {
                row[0]: row[2] for row in make.errors(subject, x_t, torch.full((BATCH,), t), cond)
            }
            rows.append((subject.name, round(t, 5), *(found[name] for name in SHOWN)))
        own = [row for row in rows if row[0] == subject.name]
        print(subject.name, *(f"{n}: {max(r[i] for r in own):.2g}" for i, n in enumerate(SHOWN, 2)))
    make.write(make.HERE / "drawn.csv", ("network", "t", *SHOWN), rows)


if __name__ == "__main__":
    main()
