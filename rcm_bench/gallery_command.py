"""What the commands that write a folder of the gallery share: where to, and what it took."""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def gallery_folder(module: str, default: Path, arguments: Sequence[str]) -> Path:
    """Read the one argument of ``python -m MODULE [OUT]`` and make that folder.

    Args:
        module: For the help.
        default: The committed folder.
        arguments: As given on the command line.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("out", nargs="?", type=Path, default=default)
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    return out


def on_one_thread() -> Callable[[], str]:
    """Let torch work on one thread; returns what says versions and processor time since then."""
    import torch

    torch.set_num_threads(1)
    start = time.process_time()

    def made() -> str:
        spent = (time.process_time() - start) / 60
        versions = f"torch {torch.__version__}, Python {platform.python_version()}"
        return f"{versions}, {spent:.1f} minutes of processor time"

    return made
