"""A study on GPUs that are lent for minutes and keep nothing.

    python -m rcm_bench.method_study.relay run STUDY OUT --seconds 560 --into PARCEL
    python -m rcm_bench.method_study.relay take PARCEL OUT --light LIGHT

``run``, on their machine, trains one after another on each as many as the seconds hold, and packs.
``take``, at home, brings a parcel into the study's folder and copies what the next machine needs
to know into LIGHT. When all is trained, ``python -m rcm_bench.method_study STUDY OUT`` measures.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rcm_bench.exit_codes import DONE, INCOMPLETE, USER
from rcm_bench.method_study.ending import run_command

PACK_SECONDS = 12.0
"""Kept of a call for packing."""


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.method_study.relay")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="train on a borrowed machine, and pack")
    run.add_argument("study", type=Path)
    run.add_argument("out", type=Path)
    run.add_argument("--seconds", type=float, required=True, help="length of this call")
    run.add_argument("--into", type=Path, required=True, help="where the parcel goes")
    run.add_argument("--at-once", type=int, default=5, help="processes on each GPU: one trains")
    run.add_argument("--devices", type=int, default=1, help="GPUs; 0 for a CPU")
    run.add_argument(
        "--stays",
        action="store_true",
        help="the machine stays for another call: begin what that one would have to end",
    )
    take = verbs.add_parser("take", help="bring a parcel home")
    take.add_argument("parcel", type=Path)
    take.add_argument("out", type=Path)
    take.add_argument("--light", type=Path, required=True, help="what the next call is given")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run or take.

    Returns:
        0 where the study is trained and packed (or the parcel is in), 4 where another call is
        needed, 2 for a fault of the user's.
    """
    begun = time.monotonic()
    asked = _arguments(arguments)
    try:
        return _run(asked, begun) if asked.verb == "run" else _take(asked)
    except ValueError as fault:
        print(fault, file=sys.stderr)
        return USER


def _run(asked: argparse.Namespace, begun: float) -> int:
    from rcm_bench.method_study import parcels, steps
    from rcm_bench.method_study.driver import Machine
    from rcm_bench.method_study.study import bind, load_study

    study = load_study(asked.study)
    bind(study, asked.out)
    machine = Machine(
        devices=asked.devices,
        per_device=asked.at_once,
        deadline=begun + asked.seconds - PACK_SECONDS,
        needs=(lambda _: 0.0)
        if asked.stays
        else (lambda job: steps.seconds(study, asked.out, job)),
    )
    trained = False
    try:
        trained = steps.train(study, asked.out, machine)
    finally:
        # Whatever ended it: what is finished comes home.
        left = parcels.pack(asked.out, steps.known(study, asked.out), asked.into)
    print(f"{left} finished trainings wait for the next parcel" if left else "all is packed")
    print("all is trained" if trained else "there is more to train: call again")
    return DONE if trained and not left else INCOMPLETE


def _take(asked: argparse.Namespace) -> int:
    from rcm_bench.method_study import parcels

    names = parcels.unpack(asked.parcel, asked.out)
    parcels.lighten(asked.out, asked.light)
    print(f"taken: {', '.join(names) or 'nothing new'}")
    return DONE


if __name__ == "__main__":
    run_command(main)
