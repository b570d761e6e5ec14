"""Append-only records: JSON lines with a checksum each, one writer per file."""

import json
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rcm_bench.canonical import canonical_json
from rcm_bench.store_blobs import fsync_folder

VERSION = 1
_MARK = ',"crc32":'


class ReadRecords(NamedTuple):
    """What a folder of records holds.

    Attributes:
        records: Every intact record, by file name and line.
        faults: One sentence for each line that is damaged though it is not the torn end of a file.
    """

    records: list[dict[str, Any]]
    faults: list[str]


def spell(record: Mapping[str, Any]) -> str:
    """Spell a record as one line, its checksum last."""
    body = canonical_json({"v": VERSION, **record})
    return f"{body[:-1]}{_MARK}{zlib.crc32(body.encode('utf-8'))}}}\n"


def parse(line: str) -> dict[str, Any] | None:
    """Read a line back; None if it is not intact."""
    body, mark, check = line.rpartition(_MARK)
    body += "}"
    if not mark or check != f"{zlib.crc32(body.encode('utf-8'))}}}":
        return None
    record: dict[str, Any] = json.loads(body)
    return record


class RecordWriter:
    """The one writer of one file; the file appears with the first record."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.jsonl"
        self._handle: int | None = None

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records and wait until they are on the disk.

        Raises:
            OSError: They could not be written; the file is as it was before.
        """
        if not records:
            return
        data = memoryview("".join(map(spell, records)).encode("utf-8"))
        handle = self._open()
        before = os.fstat(handle).st_size
        try:
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._handle = os.open(self.path, flags, 0o644)
            fsync_folder(self.path.parent)
        return self._handle


def read_records(folder: Path) -> ReadRecords:
    """Read every file of a folder; the torn last line of a file is left out in silence."""
    records: list[dict[str, Any]] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*.jsonl")):
        text = path.read_text(encoding="utf-8", errors="replace")
        *lines, tail = text.split("\n")
        for number, line in enumerate(lines, 1):
            record = parse(line)
            if record is None:
                faults.append(f"{path}:{number}: damaged record, left out")
            elif record["v"] != VERSION:
                faults.append(f"{path}:{number}: record of version {record['v']}, left out")
            else:
                records.append(record)
        # A process that was killed leaves half a line; a whole one lacks only its line end.
        if tail and (record := parse(tail)) is not None:
            records.append(record)
    return ReadRecords(records, faults)
