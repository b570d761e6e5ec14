"""Canonical JSON and digests: the one spelling that keys and fingerprints are made from."""

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_json(value: Any) -> str:
    """Spell a JSON value in exactly one way.

    Keys are sorted, separators are ``,`` and ``:`` without spaces, nothing is escaped to ASCII,
    floats are spelled by ``repr``.

    Raises:
        ValueError: The value holds NaN or an infinity.
    """
    return _ENCODER.encode(value)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical spelling, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def bytes_digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()
