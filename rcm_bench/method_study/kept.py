"""What was measured, as sums per prompt in one small file: a study goes on from it anywhere.

Weights and samples may then be thrown away. The file holds, for each training, the digest of the
record that it left, and what was measured of it counts only as long as that is its record.
"""

import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.diffusion.digests import write_whole
from rcm_bench.method_study.measure import EQUAL_UPDATES, TEACHER, Measured
from rcm_bench.method_study.turns import RECORD
from rcm_bench.statistics import Clusters

FILE = "measured.npz"
_FIELDS = ("numerator", "denominator", "strata", "within", "seeds")
_ABOUT = "about"
# RuntimeError: one flipped bit says that a part is encrypted, or (NotImplementedError) packed anew.
_DAMAGE = (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error, RuntimeError)


def keep(out: Path, protocol: Mapping[str, Any], measured: Measured) -> None:
    """Write what was measured to the study's folder, whole or not at all.

    Args:
        out: Folder of the study.
        protocol: What is the same for all that was measured.
        measured: Sums per prompt.
    """
    trainings = sorted({training_of(model) for _, model, _ in measured} - {TEACHER})
    about = {
        "protocol": digest_of(protocol),
        "records": {name: _record(out, name) for name in trainings},
    }
    arrays = {
        "/".join((metric, model, str(steps), field)): getattr(clusters, field)
        for (metric, model, steps), clusters in measured.items()
        for field in _FIELDS
        if getattr(clusters, field) is not None
    }
    arrays[_ABOUT] = np.array(json.dumps(about))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # before NumPy 2.2 any other keyword is an array too
    write_whole(out / FILE, packed.getvalue())


def kept(out: Path, protocol: Mapping[str, Any]) -> Measured:
    """Read what was measured of the trainings as they are now; empty where nothing is kept.

    Raises:
        ValueError: The file is damaged, or was measured by another protocol.
    """
    path = out / FILE
    if not path.exists():
        return {}
    fields: dict[tuple[str, str, int], dict[str, Any]] = {}
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            about = json.loads(str(file[_ABOUT]))
            for name in file.files:
                if name != _ABOUT:
                    metric, model, steps, field = name.split("/")
                    fields.setdefault((metric, model, int(steps)), {})[field] = file[name]
    except _DAMAGE as fault:
        raise ValueError(f"{path}: damaged: {fault}") from None
    if about["protocol"] != digest_of(protocol):
        raise ValueError(
            f"{path}: measured by another protocol than the study's: measure again without it"
        )
    records = {name: _record(out, name) for name in about["records"]}
    return {
        (metric, model, steps): Clusters(**own)
        for (metric, model, steps), own in fields.items()
        if model == TEACHER or records[training_of(model)] == about["records"][training_of(model)]
    }


def training_of(model: str) -> str:
    """Return the training that a measured model comes from."""
    return model.removesuffix(EQUAL_UPDATES)


def _record(out: Path, name: str) -> str | None:
    path = out / "trainings" / name / RECORD
    return file_digest(path) if path.exists() else None
