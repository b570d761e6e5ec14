"""Text embeddings: computed once, kept by content, the encoder gone before sampling begins.

Shape legend: L tokens of one text, D text width.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.canonical import digest_of, text_digest
from rcm_bench.diffusion.digests import cache_folder, files_digest, write_whole
from rcm_bench.diffusion.loading import free, from_folder
from rcm_bench.diffusion.quiet import quiet
from rcm_bench.diffusion.source import part_files, read_json
from rcm_bench.errors import UserError
from rcm_bench.faults import first_line, out_of_memory
from rcm_bench.weights_files import read_header

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 16
_SCHEMA = 1
_NAME = "embedding"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoder:
    """The text encoder of a pipeline's folder.

    Args:
        root: The folder.
        pipeline: Name of diffusers' pipeline class, whose own ``encode_prompt`` is used.
        max_tokens: Tokens that are kept.
        dtype: Of the encoder.
        place: For messages.
    """

    root: Path
    pipeline: str
    max_tokens: int
    dtype: str
    place: str

    def identity(self) -> dict[str, Any]:
        """Return all that decides an embedding but the text."""
        tokenizer = sorted(p for p in (self.root / "tokenizer").iterdir() if p.is_file())
        return {
            "schema": _SCHEMA,
            "weights": files_digest(part_files(self.root / "text_encoder", self.place)),
            "config": files_digest([self.root / "text_encoder" / "config.json"]),
            "tokenizer": files_digest(tokenizer),
            "pipeline": self.pipeline,
            "max_tokens": self.max_tokens,
            "dtype": self.dtype,
        }

    @contextmanager
    def loaded(self, device: str) -> "Iterator[Callable[[Sequence[str]], list[Tensor]]]":
        """Load the encoder; yields a function from texts to embeddings; frees it at the end.

        Raises:
            UserError: It cannot be loaded, or does not fit into the device's memory.
        """
        import torch

        pipe = self._pipeline(device)

        def encode(texts: Sequence[str]) -> "list[Tensor]":
            with torch.inference_mode():
                rows, _ = pipe.encode_prompt(
                    list(texts),
                    do_classifier_free_guidance=False,
                    max_sequence_length=self.max_tokens,
                    device=torch.device(device),
                )
            return [_unpadded(row.cpu()) for row in rows]

        try:
            yield encode
        finally:
            pipe = None
            free(device)

    def _pipeline(self, device: str) -> Any:
        """Load the pipeline without its other networks, the encoder on its device."""
        import diffusers
        import torch
        import transformers

        index = read_json(self.root / "model_index.json", self.place)
        name = str(index["text_encoder"][1])  # one of those that a plan lets through
        text_encoder = from_folder(
            getattr(transformers, name), self.root, "text_encoder", self.dtype, self.place
        )
        extra: dict[str, Any] = {"vae": None, "transformer": None}
        if "Cosmos" in self.pipeline:
            extra["safety_checker"] = NoChecker()
        try:
            with quiet():
                pipe: Any = getattr(diffusers, self.pipeline).from_pretrained(
                    self.root, text_encoder=text_encoder, local_files_only=True, **extra
                )
        except Exception as fault:  # a damaged tokenizer raises nothing narrower
            if out_of_memory(fault):
                raise
            raise UserError(
                f"{self.place}.weights: {self.root}: its tokenizer, scheduler or configuration "
                f"cannot be loaded: {first_line(fault)}"
            ) from None
        try:
            pipe.text_encoder.to(device)
        except torch.OutOfMemoryError:
            gigabytes = sum(p.nbytes for p in pipe.text_encoder.parameters()) / 1e9
            raise UserError(
                f"{self.place}.weights: the text encoder takes {gigabytes:.1f} GB, more than is "
                f"free on {device}: free memory there, or take a larger GPU"
            ) from None
        return pipe


class NoChecker:
    """Stands in for Cosmos' guardrail, which would need weights of its own and change images."""

    def to(self, *_: Any, **__: Any) -> "NoChecker":
        """Do nothing."""
        return self

    def check_text_safety(self, _: str) -> bool:
        """Let every prompt pass: prompts of a benchmark are measured, not published."""
        return True

    def check_video_safety(self, frames: Any) -> Any:
        """Return the frames as they are."""
        return frames


class TextCache:
    """Embeddings in files named by the digest of encoder and text, without their padding."""

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self._encoder = digest_of(dict(identity))
        self._folder = cache_folder() / "text"

    def path(self, text: str) -> Path:
        """Return where the embedding of a text lies."""
        whole = f"{self._encoder}|{text_digest(text)}"
        name = hashlib.sha256(whole.encode("ascii")).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that have no embedding yet, each once; a damaged file is none."""
        return [text for text in dict.fromkeys(texts) if not _is_whole(self.path(text))]

    def fill(self, texts: Iterable[str], encoder: TextEncoder, device: str) -> int:
        """Compute what is missing; the encoder is not loaded where nothing is.

        Returns:
            How many texts were encoded.
        """
        from safetensors.torch import save

        wanted = self.missing(texts)
        if wanted:
            with encoder.loaded(device) as encode:
                for start in range(0, len(wanted), _CHUNK):
                    chunk = wanted[start : start + _CHUNK]
                    for text, rows in zip(chunk, encode(chunk), strict=True):
                        write_whole(self.path(text), save({_NAME: rows.contiguous()}))
        return len(wanted)

    def read(self, text: str) -> "Tensor":
        """Return the embedding of a text without its padding, (its tokens, D)."""
        from safetensors.torch import load_file

        return load_file(self.path(text))[_NAME]


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return _NAME in read_header(path, "cache").tensors
    except UserError as fault:
        print(f"{fault}; computed anew", file=sys.stderr)
        return False


def _unpadded(rows_LD: "Tensor") -> "Tensor":
    """Leave out the zero rows at the end: a text of 20 tokens takes 1/25 of the file."""
    there = rows_LD.abs().sum(1).nonzero()
    return rows_LD[: int(there.max()) + 1 if len(there) else 0].clone()
