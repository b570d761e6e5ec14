"""What comes with the package: suites, weights, data."""

from importlib.resources import files
from pathlib import Path


def shipped(folder: str) -> Path:
    """Return the folder of shipped suites, weights or data."""
    return Path(str(files("rcm_bench"))) / folder
