r"""One training of a study in a process of its own, which may wait for its turn on the GPU.

    python -m rcm_bench.method_study.turns RECIPE FOLDER --device cuda \
        [--turn FILE --until T --needs SECONDS]

With a turn it compiles while another training has the GPU, trains when that is done, and validates
when the next one trains. Two trainings at once on one GPU are no faster than one after the other.
"""

import argparse
import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rcm_bench.exit_codes import DONE, FAILED, INCOMPLETE, USER

RECORD = "done.json"
"""What a finished training leaves beside its weights: its card, and how long it had the GPU."""
DIVERGED = "diverged.txt"
"""What a training leaves that diverged, and nothing else: why."""


class TooLateError(Exception):
    """The turn came when the training could not have ended in time."""


@contextlib.contextmanager
def turn(path: Path, *, needs: float, until: float) -> Iterator[None]:
    """Hold the GPU: a lock on a file, which ends with the process.

    Args:
        path: The file.
        needs: Seconds that the training takes.
        until: ``time.monotonic()`` at which it must have ended.

    Raises:
        TooLateError: It would not.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if time.monotonic() + needs > until:
            raise TooLateError(f"needs {needs:.0f} s, {until - time.monotonic():.0f} s are left")
        yield


def main(arguments: Sequence[str]) -> int:
    """Train, and write the record.

    Returns:
        0 where the training is done, 1 where it diverged (the file ``diverged.txt`` says how), 4
        where there was no time for it, 2 where recipe, teacher or state are wrong. Any other
        code is a fault of the machine or ours, and says nothing about the method.
    """
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.method_study.turns")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", required=True, help="cuda or cpu")
    parser.add_argument("--turn", type=Path)
    parser.add_argument("--until", type=float, default=float("inf"))
    parser.add_argument("--needs", type=float, default=0.0)
    asked = parser.parse_args(arguments)
    from rcm_bench.diffusion.digests import write_whole
    from rcm_bench.errors import UserError
    from rcm_bench.validation import Validation
    from rcm_bench.weights_files import find_weights
    from rcm_distill import checkpoint
    from rcm_distill.train import load_recipe, train

    def own() -> contextlib.AbstractContextManager[None]:
        return turn(asked.turn, needs=asked.needs, until=asked.until)

    try:
        recipe = load_recipe(asked.recipe)
        done = train(
            recipe,
            asked.folder,
            device=asked.device,
            teacher=find_weights(str(recipe.teacher), asked.recipe.parent, str(asked.recipe)),
            validate=Validation(teacher=False),
            turn=None if asked.turn is None else own,
        )
    except TooLateError as fault:
        print(f"not begun: {fault}")
        return INCOMPLETE
    except FloatingPointError as fault:
        print(fault)
        said = str(fault).partition(". State: ")[0]
        write_whole(asked.folder / DIVERGED, f"{said}\n".encode())
        return FAILED
    except (ValueError, UserError) as fault:
        print(fault)
        return USER
    record = checkpoint.read_card(done.weights) | {"seconds_alone": done.seconds}
    write_whole(asked.folder / RECORD, (json.dumps(record, sort_keys=True) + "\n").encode())
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
