"""``python -m rcm_bench.vbench build``: the environment of the package vbench."""

import argparse
import sys

from rcm_bench.errors import UserError
from rcm_bench.vbench import environment


def main(arguments: list[str] | None = None) -> int:
    """Build the environment, or look again at what can be imported in it."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.vbench", description=__doc__)
    parser.add_argument("verb", choices=["build", "probe"])
    verb = parser.parse_args(arguments).verb
    try:
        if verb == "build":
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


if __name__ == "__main__":
    sys.exit(main())
