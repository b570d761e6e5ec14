"""What a borrowed machine hands back: finished trainings in a few files of a limited size.

Of a trial its record and curves; of a final training its averaged weights too, in fp16 as they are
kept anyway. A parcel is a tar of one compressed tar for each training, cut into parts.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from rcm_bench.canonical import bytes_digest
from rcm_bench.method_study.study import STUDY, check_digest
from rcm_bench.method_study.trainings import Training
from rcm_bench.method_study.turns import DIVERGED, RECORD

PART_BYTES = 15 << 20
MOST_BYTES = 62 << 20
MANIFEST = "parcel.json"
AT_HOME = "at-home"
"""A training's folder on a borrowed machine has a file of this name once it has come home.

Home says so with the next call: what was packed and got lost is packed again.
"""
LIGHT = ("validation.jsonl", RECORD, DIVERGED)


def pack(out: Path, trainings: Iterable[Training], folder: Path, most: int = MOST_BYTES) -> int:
    """Write a parcel of what is finished and is not at home yet, as far as it fits.

    Args:
        out: Folder of the study.
        trainings: What may be sent, the most important first.
        folder: Where the parcel goes.
        most: Its largest size in bytes.

    Returns:
        How many finished trainings did not fit; the next parcel has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, bytes] = {}
    left = 0
    for training in trainings:
        own = out / "trainings" / training.name
        if not _is_settled(own) or (own / AT_HOME).exists():
            continue
        packed = _one(own, training)
        if sum(map(len, chosen.values())) + len(packed) + _around(len(chosen) + 1) > most:
            left += 1
        else:
            chosen[training.name] = packed
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, packed in chosen.items():
            member = tarfile.TarInfo(f"{name}.tar.gz")
            member.size = len(packed)
            tar.addfile(member, io.BytesIO(packed))
    data = whole.getvalue()
    parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    for number, part in enumerate(parts):
        (folder / f"parcel.{number:02d}").write_bytes(part)
    manifest = {
        "parts": len(parts),
        "sha256": bytes_digest(data),
        "study": (out / STUDY).read_text(encoding="utf-8").strip(),
        "trainings": list(chosen),
        "left": left,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return left


def unpack(folder: Path, out: Path) -> list[str]:
    """Bring a parcel into the folder of a study, each training whole or not at all.

    Args:
        folder: Where the parcel lies.
        out: Folder of the study.

    Returns:
        Names of the trainings in it.

    Raises:
        ValueError: The parcel is not whole, or of another study.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder}: no parcel: {MANIFEST} is missing")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = [folder / f"parcel.{number:02d}" for number in range(int(manifest["parts"]))]
    missing = [name.name for name in names if not name.is_file()]
    if missing:
        raise ValueError(f"{folder}: parts of the parcel are missing: {', '.join(missing)}")
    data = b"".join(name.read_bytes() for name in names)
    if bytes_digest(data) != manifest["sha256"]:
        raise ValueError(f"{folder}: the parcel is damaged: its sha256 is not the manifest's")
    check_digest(str(manifest["study"]), out)
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            inner = tar.extractfile(member)
            assert inner is not None
            name = member.name.removesuffix(".tar.gz")
            if Path(name).name != name:
                raise ValueError(f"{folder}: expected the name of a training, got {name!r}")
            with tarfile.open(fileobj=inner, mode="r:gz") as one:
                _place(one, name, out)
            found.append(name)
    return found


def _place(tar: tarfile.TarFile, name: str, out: Path) -> None:
    home = out / "trainings" / name
    if all((out / "trainings" / path).exists() for path in tar.getnames()):
        return
    aside = out / "taking"
    shutil.rmtree(aside, ignore_errors=True)
    for member in tar.getmembers():
        path = aside / member.name
        if not member.isfile() or path.resolve().parent != (aside / name).resolve():
            raise ValueError(f"{name}: a parcel holds files of its trainings, got {member.name}")
        content = tar.extractfile(member)
        assert content is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read())
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(exist_ok=True)
    (aside / name).rename(home)


def lighten(out: Path, folder: Path) -> None:
    """Copy what a machine needs to know of a study, without weights: records, curves, choices.

    What was deleted at home, so that it is trained again, is deleted in the copy too: the machine
    would take it for settled, or send both ends of a training that diverged once.
    """
    for mark in sorted((folder / "trainings").glob(f"*/{AT_HOME}")):
        own = out / "trainings" / mark.parent.name
        gone = [name for name in LIGHT if not (own / name).exists()]
        for name in gone if _is_settled(own) else (*LIGHT, AT_HOME):
            (mark.parent / name).unlink(missing_ok=True)
    for own in sorted((out / "trainings").glob("*")):
        kept = [own / name for name in LIGHT if (own / name).is_file()]
        if not _is_settled(own):
            continue
        there = folder / "trainings" / own.name
        there.mkdir(parents=True, exist_ok=True)
        (there / AT_HOME).touch()
        for path in kept:
            shutil.copy(path, there)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (STUDY, "chosen.json"):
        if (out / name).exists():
            shutil.copy(out / name, folder)


def _is_settled(own: Path) -> bool:
    return (own / RECORD).exists() or (own / DIVERGED).exists()


def _around(members: int) -> int:
    """Return what tar puts around so many members at most: headers, padding, the end."""
    return 1024 * members + tarfile.RECORDSIZE


def _one(own: Path, training: Training) -> bytes:
    names: Sequence[Path] = [own / name for name in ("log.jsonl", *LIGHT) if (own / name).is_file()]
    if training.stage == "final":
        names = [*sorted(own.glob(f"{training.name}*.safetensors")), *names]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=4) as tar:
        for path in names:
            tar.add(path, f"{training.name}/{path.name}")
    return packed.getvalue()
