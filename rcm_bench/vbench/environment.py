"""The package vbench in an environment of its own: built, found and checked, never imported here.

It needs numpy 1 and transformers 4.33, which the harness cannot share. The environment lies in the
user's cache folder, under a name made of its requirements: other requirements, another folder.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rcm_bench.canonical import file_digest
from rcm_bench.diffusion.digests import cache_folder
from rcm_bench.errors import MissingError, UserError
from rcm_bench.vbench.dimensions import DELEGATED, I2V_OWN, T2V, WEIGHTS
from rcm_bench.vbench.prompts import INFO_NAME
from rcm_bench.vbench.whence import told

VERSION = "0.1.5"
WHERE = "RCM_BENCH_VBENCH"
"""Environment variable that names the folder of an environment, in place of the cache."""
BUILD = "python -m rcm_bench.vbench build"
DETECTRON = "detectron2@git+https://github.com/facebookresearch/detectron2.git"
MARKER = "rcm_bench.json"
_PROBE = "python -m rcm_bench.vbench probe"
_TAIL = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A built environment.

    Args:
        root: Its folder.
        faults: Why a dimension's module could not be imported when it was built; None if it could.
    """

    root: Path
    faults: Mapping[str, str | None]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.root / "bin" / "python"

    @property
    def package(self) -> Path:
        """Folder of the installed package."""
        return next(self.root.glob("lib/python*/site-packages/vbench"))

    @property
    def info(self) -> Path:
        """The package's file of prompts."""
        return self.package / INFO_NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that ``doctor`` looks at: name, whether it is good, what was found, the mend."""

    name: str
    good: bool
    found: str
    mend: str = ""


def requirements() -> Path:
    """Return our pinned requirements of the package's environment."""
    return Path(str(files("rcm_bench.vbench"))) / "requirements.txt"


def home() -> Path:
    """Return the folder where the environment is, or would be built."""
    if given := os.environ.get(WHERE):
        return Path(given).absolute()  # its interpreter is started in other folders
    return cache_folder() / f"vbench-{VERSION}-{file_digest(requirements())[:8]}"


def weights_folder() -> Path:
    """Return the package's folder of weights, as the package itself finds it."""
    given = os.environ.get("VBENCH_CACHE_DIR")
    return Path(given) if given else Path.home() / ".cache" / "vbench"


def find(root: Path | None = None) -> Environment:
    """Return the environment in a folder, `home` by default.

    Raises:
        MissingError: It is not built, not whole, or holds another version of the package.
        UserError: It is damaged.
    """
    root = home() if root is None else root
    marker = root / MARKER
    if not marker.is_file():
        state = "is not whole" if root.exists() else "is not built"
        said = f"the environment of vbench {VERSION} {state}"
        raise MissingError(f"{root}: {said}; build it: {BUILD}")
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
        known = {str(k): v if v is None else str(v) for k, v in data["faults"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as fault:
        raise UserError(f"{marker}: damaged ({fault}); build it again: {BUILD}") from None
    if not any(root.glob(f"lib/python*/site-packages/vbench-{VERSION}.dist-info")):
        raise MissingError(f"{root}: holds no vbench {VERSION}; build it again: {BUILD}")
    return Environment(root=root, faults=known)


def build(root: Path | None = None, python: str = sys.executable) -> Environment:
    """Build the environment: a venv, our requirements, and a look at what can be imported.

    Its marker is written last, so that a build that was broken off is never taken for whole.

    Args:
        root: Folder of the environment; `home` by default. What is there is replaced if it is an
            unfinished environment, and refused if it is anything else.
        python: The interpreter; its version must suit the pinned requirements.

    Raises:
        UserError: The folder holds something else, or a step failed; the log is named.
    """
    root = home() if root is None else root
    if root.exists() and any(root.iterdir()) and not (root / "pyvenv.cfg").is_file():
        raise UserError(f"{root}: expected a new folder or an environment, got another folder")
    (root / MARKER).unlink(missing_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    log = root / "build.log"
    log.write_bytes(b"")
    environment = Environment(root=root, faults={})
    _step([python, "-m", "venv", str(root)], log)
    pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check"]
    _step([*pip, "--no-input", "-r", str(requirements())], log)
    return probe(root)


def probe(root: Path) -> Environment:
    """Try to import every dimension in an environment, and mark it as whole."""
    environment = Environment(root=root, faults={})
    modules = {name: f"vbench.{name}" for name in T2V}
    for name in I2V_OWN:
        modules[name] = f"vbench2_beta_i2v.{name}"
    job, result = root / "probe.json", root / "probe-result.json"
    job.write_text(json.dumps({"kind": "probe", "modules": modules, "result": str(result)}))
    _step([str(environment.python), str(driver()), str(job)], root / "build.log")
    faults = json.loads(result.read_text(encoding="utf-8"))
    marker: dict[str, Any] = {"requirements": file_digest(requirements()), "faults": faults}
    temporary = root / f".{MARKER}.tmp"
    temporary.write_text(json.dumps(marker, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, root / MARKER)
    return find(root)


def driver() -> Path:
    """Return the file that the package's interpreter runs."""
    return Path(str(files("rcm_bench.vbench"))) / "driver.py"


def variables() -> dict[str, str]:
    """Return the variables of processes in the environment: nothing of the harness's own Python."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}


def _step(command: list[str], log: Path) -> None:
    """Run one command, its output into the log.

    Raises:
        UserError: It cannot be started, or fails; with the end of its output.
    """
    with log.open("ab") as file:
        try:
            done = subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=variables(),
            )
        except OSError as fault:
            raise UserError(f"{command[0]}: cannot be started ({fault.strerror})") from None
    if done.returncode:
        end = log.read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
        what = " ".join(command[:4])
        raise UserError(f"{what} ... failed, exit code {done.returncode}; log: {log}\n{end}")


def missing_weights(dimension: str) -> list[Path]:
    """Return the files that a dimension needs and that are not in the package's folder."""
    folder = weights_folder()
    return [path for name in WEIGHTS[dimension] if not (path := folder / name).exists()]


def findings() -> list[Finding]:
    """Look at the environment and at each delegated dimension; starts no process."""
    try:
        environment = find()
    except UserError as fault:
        return [Finding(name="VBench", good=False, found=str(fault).split(";")[0], mend=BUILD)]
    about = f"vbench {VERSION} in {environment.root}"
    found = [Finding(name="VBench", good=True, found=about)]
    return found + [_dimension(name, environment) for name in (*DELEGATED, *I2V_OWN)]


def _dimension(name: str, environment: Environment) -> Finding:
    unverified = "unverified: no real weights have run here"
    fault = environment.faults.get(name)
    missing = missing_weights(name)
    mend = ""
    if fault is not None:
        found = f"cannot be imported: {fault}"
        if "detectron2" in fault:
            python = environment.python
            mend = f"{python} -m pip install --no-build-isolation '{DETECTRON}'"
            mend += f" && {_PROBE}"
        elif "dreamsim" in fault:
            mend = f"{environment.python} -m pip install dreamsim==0.2.1 && {_PROBE}"
        elif "third_party" in fault:
            place = environment.package.parent / "vbench2_beta_i2v"
            mend = f"put vbench2_beta_i2v/third_party of VBench's repository into {place}; {_PROBE}"
        else:
            mend = BUILD
    elif missing:
        found = f"no weights: {missing[0]}"
        mend = f"put there {told(missing)}"
    elif WEIGHTS[name]:
        found = f"weights in {weights_folder()}"
    else:
        found = "fetches its weights itself when it runs"
    text = "; ".join(part for part in (found, unverified) if part)
    good = fault is None and not missing
    return Finding(name=f"VBench {name}", good=good, found=text, mend=mend)
