"""What a run was made with: versions, machine, device, commit; recorded, never part of a key."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Whatever can change a sample, a score, a time or an interval.
_PACKAGES = (
    *("rcm-bench", "torch", "torchvision", "triton", "diffusers", "transformers", "accelerate"),
    *("imageio-ffmpeg", "av", "open-clip-torch", "timm", "pyiqa", "torchmetrics", "lpips"),
    *("numpy", "scipy", "pandas", "pillow", "pydantic", "safetensors"),
)
_GIT_SECONDS = 5


def pick_device() -> str:
    """Return ``"cuda"`` where torch can use it, else ``"cpu"``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name(device: str) -> str:
    """Return the device as people call it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"cpu ({cpu_name()})"


def driver() -> str | None:
    """Return the version of NVIDIA's driver, None where it cannot be asked."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def cpu_name() -> str:
    """Return the name of the processor and its number of cores."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def installed(package: str) -> str | None:
    """Return the installed version of a package without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment(device: str) -> dict[str, Any]:
    """Return versions, machine, device and commit; nothing of the user's environment variables."""
    found = {name: installed(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: text for name, text in found.items() if text},
        "platform": platform.platform(),
        "device": device_name(device),
        **(_cuda() if device == "cuda" else {}),
        "commit": commit(),
    }


def _cuda() -> dict[str, Any]:
    """Return what computes on an NVIDIA GPU beside torch itself."""
    import torch

    return {
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def commit() -> str | None:
    """Return the git commit of a checkout, marked if files differ from it; None elsewhere."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{head}{' with local changes' if changed else ''}" if head else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def python_command() -> str:
    """Return how this Python is called, for commands that mend something."""
    return Path(sys.executable).name
