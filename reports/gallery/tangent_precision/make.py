"""Measure the tangent's relative error over t in several precisions, as the rCM paper's Figure 11.

Run from the repository's root: ``python reports/gallery/tangent_precision/make.py``. Writes
errors.csv, layers.csv and figure.svg beside itself; the README quotes them.
"""

import contextlib
import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rcm_distill import checkpoint
from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.lab.grammar import VOCAB_SIZE
from rcm_distill.lab.pool import Pool
from rcm_distill.nets import DiT, DiTConfig
from rcm_distill.tangent import tangent
from rcm_distill.tangent_check import MODES, Mode, check_tangent, direction, in_mode

HERE = Path(__file__).parent
ERRORS = ("network", "t", "precision", "F_error", "tangent_error")
WEIGHTS = HERE.parents[2] / "rcm_bench" / "weights"
NUM_TIMES, BATCH, SEED = 25, 2, 20261124
ENDS = "patch_in and patch_out in fp32"


class Subject(NamedTuple):
    """A network, and who says where the flow goes (None: itself)."""

    name: str
    net: DiT
    teacher: DiT | None


def random_transformer(width: int, depth: int) -> DiT:
    """Draw a transformer whose every layer matters: weights N(0, 1 / fan-in), none of them zero."""
    net = DiT(DiTConfig(vocab_size=VOCAB_SIZE, width=width, depth=depth, num_heads=width // 64))
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in net.named_parameters():
        if parameter.ndim == 2 and "embedding" not in name:
            std = parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std, generator=generator)
    return net


def subjects() -> Iterator[Subject]:
    """Yield the shipped networks and a larger random one."""
    teacher = checkpoint.load(WEIGHTS / "lab-teacher.safetensors").net
    yield Subject("lab-teacher", teacher, None)
    for name in ("lab-rcm", "lab-scm"):
        yield Subject(name, checkpoint.load(WEIGHTS / f"{name}.safetensors").net, teacher)
    yield Subject("random 512 wide, 24 deep", random_transformer(512, 24), None)


@contextlib.contextmanager
def ends_in_fp32(net: DiT) -> Iterator[None]:
    """Take the first and the last layer out of autocast."""
    with contextlib.ExitStack() as stack:
        for layer in (net.patch_in, net.patch_out):
            plain = layer.forward

            def forward(x: Tensor, plain=plain) -> Tensor:
                with torch.autocast(x.device.type, enabled=False):
                    return plain(x.float())

            layer.forward = forward
            stack.callback(layer.__dict__.pop, "forward")
        yield


@torch.no_grad()
def errors(subject: Subject, x_t: Tensor, times: Tensor, cond: Tensor) -> Iterator[tuple]:
    """Yield precision, error of F and error of cos t sin t dF/dt at one time."""
    net = subject.net
    wide = x_t.double(), times.double()
    flow = VelocityDenoiser((subject.teacher or net).double())(*wide, cond).F
    exact = tangent(VelocityDenoiser(net.double()), *wide, *direction(flow, *wide), cond)
    net.float()
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    along = [part.float() for part in direction(flow, *wide)]
    for name, mode, context in states(net):
        if mode == "bf16 weights":
            net.bfloat16()
        with context():
            got = tangent(VelocityDenoiser(in_mode(net, mode)), x_t, times, *along, cond)
        yield name, relative(got.F, exact.F), relative(got.dF, exact.dF)
    net.float().load_state_dict(kept)


def states(net: DiT) -> list[tuple[str, Mode, Callable[[], contextlib.AbstractContextManager]]]:
    """Return the ways to run a network and what to run it in, "bf16 weights" last."""
    plain = [(mode, mode, contextlib.nullcontext) for mode in MODES]
    low = [(f"{mode}, {ENDS}", mode, lambda: ends_in_fp32(net)) for mode in MODES[1:3]]
    return [*plain[:-1], *low, plain[-1]]


def relative(got: Tensor, exact: Tensor) -> float:
    """Return ||got - exact|| / ||exact|| over the batch."""
    return ((got - exact).norm() / exact.norm()).item()


def main() -> None:
    """Measure, write the tables, and draw."""
    generator = torch.Generator().manual_seed(SEED)
    x0, cond = Pool(64, SEED).batch(BATCH, generator)
    eps = torch.randn(x0.shape, generator=generator)
    times = [0.01 + (math.pi / 2 - 0.02) * k / (NUM_TIMES - 1) for k in range(NUM_TIMES)]
    rows, layers = [], []
    for subject in subjects():
        # The larger network costs twenty times as much: every eighth time.
        for t in times if subject.name.startswith("lab-") else times[::8]:
            x_t = math.cos(t) * x0 + math.sin(t) * eps
            found = list(errors(subject, x_t, torch.full((BATCH,), t), cond))
            rows += [(subject.name, round(t, 5), *row) for row in found]
            print(
                subject.name, round(t, 3), [f"{row[0]}: {row[2]:.1e}" for row in found], flush=True
            )
        of_bf16 = [row for row in rows if row[0] == subject.name and row[2] == "bf16 autocast"]
        worst = max(of_bf16, key=lambda row: row[4])[1]
        x_t = math.cos(worst) * x0 + math.sin(worst) * eps
        report = check_tangent(subject.net, x_t, torch.full((BATCH,), worst), cond)
        layers += [
            (subject.name, worst, row.layer, row.output, row.tangent) for row in report.layers
        ]
    write(HERE / "errors.csv", ERRORS, rows)
    write(HERE / "layers.csv", ("network", "t", "layer", "output_error", "tangent_error"), layers)
    draw(rows)


def write(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    """Write a table, numbers to four digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows([f"{v:.4g}" if isinstance(v, float) else v for v in row] for row in rows)


def draw(rows: list[tuple]) -> None:
    """Draw the tangent's error over t, one panel a network."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "tangent_precision", "svg.fonttype": "none"})
    from matplotlib import pyplot

    names = list(dict.fromkeys(row[0] for row in rows))
    figure, panels = pyplot.subplots(1, len(names), figsize=(3.2 * len(names), 3.4), sharey=True)
    for panel, name in zip(panels, names, strict=True):
        for precision in dict.fromkeys(row[2] for row in rows):
            line = [(row[1], row[4]) for row in rows if row[0] == name and row[2] == precision]
            panel.plot(*zip(*line, strict=True), label=precision, linewidth=1)
        panel.axhline(0.1, color="0.6", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlabel="t", yscale="log")
    panels[0].set_ylabel("relative error of cos t sin t dF/dt")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(HERE / "figure.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
