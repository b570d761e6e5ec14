"""``python -m rcm_bench.method_study STUDY OUT``: search, train, measure, report; goes on anywhere.

Call it again with the same folder until it says that the study is done. ``--plan`` prints what
there is to do and what it costs, and starts nothing; ``--as-it-is`` trains nothing, and writes the
page of what has run so far.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rcm_bench.exit_codes import DONE, INCOMPLETE, USER
from rcm_bench.method_study.ending import run_command

_TAIL_SECONDS = 15.0


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.method_study")
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--as-it-is", action="store_true", help="train nothing: report what has run so far"
    )
    parser.add_argument("--seconds", type=float, default=570.0, help="length of this session")
    parser.add_argument("--devices", type=int, default=1, help="GPUs; 0 for a CPU")
    parser.add_argument("--per-device", type=int, default=3, help="trainings at once on each")
    parser.add_argument("--report", type=Path, help="folder of the report [OUT/report]")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Go on with a study until it is done or the session is over.

    Returns:
        0 where the study is done, 4 where another session is needed, 2 for a fault of the user's.
    """
    deadline = time.monotonic()
    asked = _arguments(arguments)
    deadline += asked.seconds
    from rcm_bench.errors import UserError
    from rcm_bench.method_study import steps
    from rcm_bench.method_study.driver import Machine
    from rcm_bench.method_study.study import bind, load_study

    try:
        study = load_study(asked.study)
        if asked.plan:
            print("\n".join(steps.plan(study)))
            return DONE
        bind(study, asked.out)
        machine = Machine(asked.devices, asked.per_device, deadline)
        if not asked.as_it_is and not steps.train(study, asked.out, machine):
            print("the session is over: call again with the same folder to go on")
            return INCOMPLETE
        from rcm_bench.method_study import results

        folder = asked.report or asked.out / "report"
        found = results.measurement(study, asked.out)
        if found is not None:
            suite, run = found
            command = [sys.executable, "-m", "rcm_bench", "run", str(suite), "--out", str(run)]
            left = deadline - _TAIL_SECONDS - time.monotonic()
            subprocess.run(command, check=True, timeout=max(1, left))
        results.report(study, asked.out, found and found[1], folder)
    except subprocess.TimeoutExpired:
        print("the session is over while measuring: call again with the same folder to go on")
        return INCOMPLETE
    except subprocess.CalledProcessError as fault:
        print(f"the measurement ended with code {fault.returncode}", file=sys.stderr)
        return USER if fault.returncode == USER else INCOMPLETE
    except (ValueError, UserError) as fault:
        print(fault, file=sys.stderr)
        return USER
    if not steps.is_trained(study, asked.out):
        print(f"the study is not finished; what has run: {folder}")
        return INCOMPLETE
    print(f"the study is done: {folder}")
    return DONE


if __name__ == "__main__":
    run_command(main)
