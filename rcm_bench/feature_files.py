"""Features of samples as files beside them: a few kilobytes each that no record has to hold."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.canonical import bytes_digest
from rcm_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY = "features"
"""The detail of a score that names the file."""
REAL = "real_features"
"""The detail of a score that names the file of the set that its sample is also compared with."""
SUFFIX = ".npy"


def encode_features(features: "NDArray[np.float32]") -> bytes:
    """Return the file of a vector, float32 of shape (D,); equal vectors give equal bytes.

    Raises:
        ValueError: It is no vector, or not finite.
    """
    import numpy as np

    vector = np.asarray(features, dtype="<f4")
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError(f"features must be a finite vector, got shape {vector.shape}")
    buffer = io.BytesIO()
    np.save(buffer, vector, allow_pickle=False)
    return buffer.getvalue()


def encode_set(features: "NDArray[np.float32]") -> bytes:
    """Return the file of a set of vectors, float32 of shape (N, D).

    Raises:
        ValueError: It is no set of vectors, or not finite.
    """
    import numpy as np

    rows = np.asarray(features, dtype="<f4")
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"features of a set must be finite rows, got shape {rows.shape}")
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def feature_names(record: Mapping[str, Any]) -> set[str]:
    """Return the names of the files that a score record needs."""
    details = [made["details"] for made in record["scores"]]
    return {found[key] for found in details for key in (KEY, REAL) if key in found}


def with_path(details: Mapping[str, Any], files: Callable[[str], Path]) -> Mapping[str, Any]:
    """Return details in which the names of files of features are their paths."""
    return {**details, **{k: str(files(details[k])) for k in (KEY, REAL) if k in details}}


def read_features(paths: Iterable[str]) -> "NDArray[np.float64]":
    """Read features and check them against the digests in their names.

    Args:
        paths: Files of vectors of one length.

    Returns:
        (N, D).

    Raises:
        UserError: A file is gone, damaged, or of another length than the first.
    """
    import numpy as np

    rows: list[NDArray[np.float32]] = []
    for path in map(Path, paths):
        rows.append(_array(path))
        if len(rows[-1]) != len(rows[0]):
            raise UserError(f"{path}: expected {len(rows[0])} features, got {len(rows[-1])}")
    return np.stack(rows).astype(np.float64) if rows else np.empty((0, 0))


def read_set(path: str) -> "NDArray[np.float64]":
    """Read the features of a set, (N, D), and check them against the digest in their name.

    Raises:
        UserError: The file is gone or damaged.
    """
    return _array(Path(path)).astype("float64")


def _array(path: Path) -> "NDArray[np.float32]":
    import numpy as np

    try:
        data = path.read_bytes()
    except OSError as fault:
        raise UserError(f"{path}: features cannot be read ({fault.strerror})") from None
    if bytes_digest(data) != path.stem:
        raise UserError(
            f"{path}: features do not match their digest; delete the file and score the run "
            "again with: score RUN"
        )
    found: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    return found
