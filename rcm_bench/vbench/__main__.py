"""``python -m rcm_bench.vbench``: the package's environment, and folders scored by the package."""

import argparse
import sys
from pathlib import Path

from rcm_bench.console import cell
from rcm_bench.errors import UserError
from rcm_bench.exit_codes import INCOMPLETE
from rcm_bench.vbench import environment
from rcm_bench.vbench.folder import Asked, Scored, score_folder
from rcm_bench.vbench.i2v_images import ASPECTS
from rcm_bench.vbench.jobs import HOURS, Outcome
from rcm_bench.vbench.presets import DEFAULT, PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Build the environment, look again at what it can import, or score a folder."""
    given = _parser().parse_args(arguments)
    try:
        if given.verb == "evaluate":
            return _evaluate(given)
        if given.verb == "build":
            print(f"Building in {environment.home()}: about 7 GB, some minutes", flush=True)
            built = environment.build()
        else:
            built = environment.probe(environment.home())
    except UserError as fault:
        print(fault, file=sys.stderr)
        return UserError.exit_code
    for name, why in built.faults.items():
        print(f"{name}: {'can be imported' if why is None else why}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.vbench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="build the environment of the package vbench")
    verbs.add_parser("probe", help="look again at which dimensions it can import")
    own = verbs.add_parser("evaluate", help="score a folder of videos by the package")
    own.add_argument("videos", type=Path, help="folder of {prompt}-{i}.mp4")
    own.add_argument("--out", type=Path, required=True, help="results, logs, VBench's own files")
    kinds = ["vbench_standard", "custom_input", "i2v"]
    own.add_argument("--kind", choices=kinds, default=kinds[0], help="whose prompts")
    chosen = "dimensions; all of the kind by default"
    own.add_argument("--dimension", nargs="+", default=[], metavar="NAME", help=chosen)
    own.add_argument("--preset", default=DEFAULT, help=", ".join(PRESETS))
    own.add_argument("--info", type=Path, help="file of prompts (needed for i2v)")
    own.add_argument("--images", type=Path, help="folder of crop/RESOLUTION (i2v)")
    own.add_argument("--resolution", default="16-9", choices=ASPECTS)
    own.add_argument("--device", default="cuda")
    own.add_argument("--hours", type=float, default=HOURS, help="time limit of a dimension")
    own.add_argument("--incomplete", action="store_true", help="score a folder that lacks videos")
    return parser


def _evaluate(given: argparse.Namespace) -> int:
    asked = Asked(
        kind=given.kind,
        dimensions=tuple(given.dimension),
        preset=given.preset,
        info=given.info,
        images=given.images,
        resolution=given.resolution,
        device=given.device,
        hours=given.hours,
        incomplete=given.incomplete,
    )
    scored = score_folder(given.videos, given.out, asked, _tell)
    _print(scored)
    return INCOMPLETE if scored.failures else 0


def _tell(outcome: Outcome) -> None:
    how = "was there" if outcome.reused else f"{outcome.seconds:.0f} s"
    print(f"{outcome.dimension}: {outcome.status} ({how})", flush=True)


def _print(scored: Scored) -> None:
    for name, result in scored.results.items():
        remarks = "".join(f"; {remark}" for remark in result.remarks)
        print(f"{name:24} {100 * result.aggregate:6.2f}  {len(result.videos)} videos{remarks}")
    for name, why in scored.failures.items():
        print(f"{name:24} failed: {cell(why)}", file=sys.stderr)
    for name, number in scored.totals.items():
        text = number.reason if number.value is None else f"{100 * number.value:.2f}"
        print(f"{name.capitalize():24} {text:>6}")
    for path in scored.files:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
