"""Weights that a suite names by their digest, and that are checked against it before they load."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn

from pydantic import AfterValidator, Field, model_validator

from rcm_bench.canonical import file_digest
from rcm_bench.diffusion.digests import remembered_digest
from rcm_bench.errors import MissingError, UserError
from rcm_bench.faults import first_line
from rcm_bench.suite import Name, Strict

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = 'python -m pip install "rcm-bench[diversity]"'
_SHA256, _COMMIT = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


def _digest(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError(f"a SHA-256 has 64 digits of 0-9 and a-f, got {value!r}")
    return value


def _commit(value: str) -> str:
    if not _COMMIT.fullmatch(value):
        raise ValueError(f"must be a commit of 40 digits, as a branch may move; got {value!r}")
    return value


Sha256 = Annotated[
    str,
    AfterValidator(_digest),
    Field(
        description="SHA-256 of the weights file, 64 digits",
        json_schema_extra={"pattern": f"^{_SHA256.pattern}$"},
    ),
]
Commit = Annotated[
    str,
    AfterValidator(_commit),
    Field(
        description="Commit of the hub's repository (40 digits), for a hub id",
        json_schema_extra={"pattern": f"^{_COMMIT.pattern}$"},
    ),
]


class PinnedFile(Strict):
    """A local file of weights; relative paths start at the working folder."""

    weights: Name = Field(description="Path of the file, .safetensors or a PyTorch file of tensors")
    sha256: Sha256

    published: ClassVar[str] = ""
    """Which file papers have and where it is, for who has none."""

    def identity(self) -> dict[str, Any]:
        """Return what a score depends on: all but the place of the file."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"weights"})

    def check(self, where: str) -> None:
        """Refuse a file that is not there or has another digest, before anything is sampled."""
        if not Path(self.weights).is_file():
            raise missing(f"{where}.weights", Path(self.weights), self.published)
        hold_to(Path(self.weights), self.sha256, where)

    def verified(self, where: str) -> Path:
        """Return the file once its digest is right.

        Raises:
            UserError: The file is missing, or another one.
        """
        self.check(where)
        return check_digest(Path(self.weights), self.sha256, where)


class PinnedFolder(Strict):
    """A folder of transformers: local with digests, or a hub id at a commit."""

    weights: Name = Field(
        description="Hub id, or a folder with config.json and model.safetensors; relative paths "
        "start at the working folder"
    )
    revision: Commit | None = None
    sha256: Sha256 | None = None
    config_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of a local folder's config.json"
    )

    published: ClassVar[str] = ""
    """Which folder papers have and where it is, for who has none."""

    @model_validator(mode="after")
    def _pinned(self) -> "PinnedFolder":
        """Ask for what says which weights these are, so that a score's key can name them."""
        if self.revision is None and (self.sha256 is None or self.config_sha256 is None):
            raise ValueError(
                "a hub id needs 'revision', a local folder 'sha256' and 'config_sha256'"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what a score depends on: a hub id with its commit, or digests."""
        hidden = {"weights"} if self.sha256 is not None else set()
        return self.model_dump(mode="json", exclude_none=True, exclude=hidden)

    def fetched(self) -> str:
        """Name what a run takes from the hub; nothing for a local folder."""
        return "" if self.revision is None else f"{self.weights} at {self.revision[:12]}"

    def check(self, where: str) -> None:
        """Refuse a local folder whose files are not there or are others; a hub id waits."""
        if self.revision is None:
            digests = {"config.json": self.config_sha256, "model.safetensors": self.sha256}
            files = {Path(self.weights) / name: digest for name, digest in digests.items()}
            lost = [path for path in files if not path.is_file()]
            for path, digest in files.items():
                if path not in lost:
                    hold_to(path, digest, where)
            if lost:
                raise missing(f"{where}.weights", lost[0], self.published)

    def verified(self, where: str, also: tuple[str, ...] = ()) -> Path:
        """Return the folder once its digests are right; a hub id is taken from cache or hub.

        Args:
            where: Key of the suite, for messages.
            also: Files besides the weights and their config that are needed.

        Raises:
            UserError: Something is missing, or another file than was named.
        """
        self.check(where)
        names = ("config.json", "model.safetensors", *also)
        folder = Path(self.weights) if self.revision is None else self._fetched(names, where)
        for name in names:
            if not (folder / name).is_file():
                raise missing(f"{where}.weights", folder / name, self.published)
        check_digest(folder / "config.json", self.config_sha256, where)
        check_digest(folder / "model.safetensors", self.sha256, where)
        return folder

    def _fetched(self, names: tuple[str, ...], where: str) -> Path:
        try:
            from huggingface_hub import snapshot_download

            found = snapshot_download(
                self.weights, revision=self.revision, allow_patterns=list(names)
            )
        except Exception as fault:
            raise UserError(
                f"{where}.weights: {self.weights} at {self.revision} cannot be fetched: {fault}"
            ) from None
        return Path(found)


def missing(where: str, path: Path, published: str) -> MissingError:
    """Return the error for a file that is not there, with where it is to be had."""
    return MissingError(f"{where}: {path}: no such file{published and f'; {published}'}")


def check_digest(path: Path, expected: str | None, where: str) -> Path:
    """Return a file whose SHA-256 is the expected one; None expects nothing.

    Raises:
        UserError: It is another file.
    """
    if expected is not None:
        _same(path, expected, file_digest(path), where)
    return path


def hold_to(path: Path, expected: str | None, where: str) -> None:
    """Refuse a file of another SHA-256 before a run; one that has not changed is not read again.

    Raises:
        UserError: It is another file, or cannot be read.
    """
    if expected is None:
        return
    try:
        got = remembered_digest(path)
    except OSError as fault:
        raise UserError(f"{where}: {path}: cannot be read ({fault.strerror})") from None
    _same(path, expected, got, where)


def _same(path: Path, expected: str, got: str, where: str) -> None:
    if got != expected:
        raise UserError(f"{where}: {path}: expected SHA-256 {expected}, got {got}")


def read_tensors(path: Path, where: str) -> "dict[str, Tensor]":
    """Read a file of tensors; nothing is executed in reading.

    Args:
        path: A .safetensors file, or what ``torch.save`` wrote of a ``state_dict``.
        where: Key of the suite, for messages.

    Raises:
        UserError: It is something else.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        whole = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        said = first_line(fault)
        raise UserError(f"{where}: {path}: expected a file of plain tensors: {said}") from None
    found = whole.get("state_dict", whole) if isinstance(whole, dict) else None
    if not isinstance(found, dict) or not all(torch.is_tensor(w) for w in found.values()):
        raise UserError(f"{where}: {path}: expected a 'state_dict' of tensors")
    return found


def needs(package: str, what: str, fault: ImportError) -> NoReturn:
    """Say which extra brings a package."""
    raise UserError(f"{what} needs {package} ({fault}): {EXTRA}") from None
