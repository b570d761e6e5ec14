"""doctor: what works on this machine, and the command that mends what does not."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rcm_bench.canonical import file_digest
from rcm_bench.environment import cpu_name, device_name, installed, pick_device
from rcm_bench.errors import UserError
from rcm_bench.shipped import shipped
from rcm_bench.suite_load import load_suite
from rcm_bench.weights_files import read_header, shipped_weights

_NEEDED = ("torch", "numpy", "scipy", "pandas", "pillow", "pydantic", "safetensors", "matplotlib")
_GIGABYTE = 1e9
_MEMORY_NEEDED = 4.0
_DISK_NEEDED = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What was looked at.
        good: True if it is as it should be.
        found: What was found.
        mend: The command that mends it, or nothing.
        optional: True if everything works without it too.
    """

    name: str
    good: bool
    found: str
    mend: str = ""
    optional: bool = False


def doctor() -> list[Check]:
    """Look at Python, packages, device, memory, disk, suites, weights, fonts and the detector."""
    checks = [_python(), *map(_package, _NEEDED)]
    if installed("torch"):
        checks.append(_device())
    checks += [_memory(), _disk(), _suites(), *_weights(), _font()]
    return [*checks, _geneval(), *_vbench()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        name="Python",
        good=sys.version_info >= (3, 11),
        found=version,
        mend="" if sys.version_info >= (3, 11) else "install Python 3.11 or newer",
    )


def _package(name: str) -> Check:
    version = installed(name)
    mend = "" if version else f"{sys.executable} -m pip install {name}"
    return Check(name=name, good=version is not None, found=version or "not installed", mend=mend)


def _device() -> Check:
    device = pick_device()
    found = device_name(device) if device == "cuda" else f"no GPU; {cpu_name()}"
    return Check(name="device", good=True, found=found)


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIGABYTE
    good = total >= _MEMORY_NEEDED
    mend = "" if good else "give the machine more memory, or lower run.batch_size in the suite"
    return Check(name="memory", good=good, found=f"{total:.1f} GB", mend=mend, optional=True)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / _GIGABYTE
    good = free >= _DISK_NEEDED
    mend = "" if good else "free some space, or give --out on another disk"
    return Check(name="disk", good=good, found=f"{free:.1f} GB free here", mend=mend)


def _suites() -> Check:
    names = sorted(path.stem for path in shipped("suites").glob("*.yaml"))
    mend = "" if names else f"{sys.executable} -m pip install --force-reinstall rcm-bench"
    return Check(name="suites", good=bool(names), found=", ".join(names) or "none", mend=mend)


def _weights() -> list[Check]:
    again = f"{sys.executable} -m pip install --force-reinstall rcm-bench"
    found = shipped_weights()
    checks = [
        Check(name=f"weights {name}", good=False, found="not there", mend=again)
        for name in sorted(_named_weights() - found.keys())
    ]
    for name, path in found.items():
        try:
            read_header(path, name)
            text = f"sha256 {file_digest(path)[:16]}, {path.stat().st_size / 1e6:.1f} MB"
            checks.append(Check(name=f"weights {name}", good=True, found=text))
        except UserError as fault:
            checks.append(Check(name=f"weights {name}", good=False, found=str(fault), mend=again))
    return checks


def _named_weights() -> set[str]:
    """Return the ids of the package's own weights that the shipped suites name.

    What other kinds of model need is not in the package; ``plan`` says it of each suite.
    """
    named = set()
    for path in shipped("suites").glob("*.yaml"):
        for entry in load_suite(str(path)).suite.models.values():
            if entry.kind == "lab":
                named.add(str(entry.settings()["weights"]))
    return named


def _vbench() -> list[Check]:
    """Look at the environment of the package vbench; everything else works without it."""
    from rcm_bench.vbench.environment import findings

    return [
        Check(name=f.name, good=f.good, found=f.found, mend=f.mend, optional=True)
        for f in findings()
    ]


def _geneval() -> Check:
    """Test GenEval's detector on known images, where a suite is named for it."""
    from rcm_bench.geneval_selftest import doctors_finding

    name, good, found, mend = doctors_finding()
    return Check(name=name, good=good, found=found, mend=mend, optional=True)


def _font() -> Check:
    if not installed("matplotlib"):
        return Check(name="font", good=False, found="matplotlib is not installed")
    from matplotlib import font_manager

    path = font_manager.findfont("DejaVu Sans", fallback_to_default=True)
    return Check(name="font of plots", good=Path(path).exists(), found=Path(path).name)
