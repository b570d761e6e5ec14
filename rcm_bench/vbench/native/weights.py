"""Weight files of the native dimensions: found by name, held to their digests, read without code.

The files are those of the package vbench, under the names of its cache folder. A file is read only
if its SHA-256 is the one that the suite names, or the one that its authors published.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.diffusion.digests import remembered_digest
from rcm_bench.errors import MissingError, UserError, check_all
from rcm_bench.vbench.whence import told

if TYPE_CHECKING:
    from torch import Tensor

DINO = "dino_model/dino_vitbase16_pretrain.pth"
CLIP_B = "clip_model/ViT-B-32.pt"
CLIP_L = "clip_model/ViT-L-14.pt"
AESTHETIC = "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"
MUSIQ = "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth"
RAFT = "raft_model/models/raft-things.pth"

NEEDED: Mapping[str, tuple[str, ...]] = {
    "subject_consistency": (DINO,),
    "background_consistency": (CLIP_B,),
    "temporal_flickering": (RAFT,),
    "dynamic_degree": (RAFT,),
    "aesthetic_quality": (CLIP_L, AESTHETIC),
    "imaging_quality": (MUSIQ,),
    "appearance_style": (CLIP_B,),
}
"""Files that each dimension reads; flickering needs its own for the static filter alone."""
PUBLISHED: Mapping[str, str] = {
    # OpenAI's file names in the addresses of its package clip are the digests.
    CLIP_B: "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    CLIP_L: "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
}
_TORCHSCRIPT = (CLIP_B, CLIP_L)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFiles:
    """A folder of weight files and the digests that they must have.

    Args:
        folder: Folder laid out as the package's cache.
        digests: SHA-256 by name below the folder.
        benchmark: Whose key names them, for messages.
    """

    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)
    benchmark: str = "vbench"

    def digest(self, name: str) -> str | None:
        """Return the digest that a file must have; None if nobody names one."""
        return self.digests.get(name, PUBLISHED.get(name))

    def state(self, name: str, device: str = "cpu") -> "dict[str, Tensor]":
        """Read the Tensors of a file by name.

        Args:
            name: Name below the folder.
            device: Where the Tensors go; they are the caller's own, to be changed at will.

        Raises:
            UserError: There is no such file, it has another digest or none is named, or it holds
                something else than Tensors by name.
        """
        path = self.folder / name
        self.check(name)
        try:
            state = (_archive if name in _TORCHSCRIPT else _plain)(path, device)
        except Exception as fault:  # whatever torch's readers raise for a file of another kind
            first = str(fault).strip().splitlines()[:1]
            raise UserError(f"{path}: no weights could be read ({''.join(first)})") from None
        wrong = not isinstance(state, dict) or any(not _is_tensor(v) for v in state.values())
        if wrong:
            raise UserError(f"{path}: expected Tensors by name, got something else")
        return dict(state)

    def check(self, name: str) -> None:
        """Hold a file to its digest.

        Raises:
            MissingError: There is no such file.
            UserError: It has another digest, or none is named.
        """
        path = self.folder / name
        try:
            found = remembered_digest(path)
        except FileNotFoundError as fault:
            said = f"{path}: cannot be read ({fault.strerror}; {told([path])})"
            raise MissingError(said) from None
        except OSError as fault:
            raise UserError(f"{path}: cannot be read ({fault.strerror})") from None
        expected = self.digest(name)
        if expected is None:
            raise UserError(
                f"{path}: no digest is named for it. If the file is the one you mean, add under "
                f"benchmarks.{self.benchmark}.weights: {{{name}: {found}}}"
            )
        if found != expected:
            raise UserError(f"{path}: expected SHA-256 {expected}, got {found}")

    def check_all(self, names: Sequence[str]) -> None:
        """Hold several files to their digests, read side by side: hashing leaves Python's lock.

        Raises:
            UserError: As `check`, of the first name that is at fault.
            MissingError: Names all that are not there, if no other is at fault.
        """
        with ThreadPoolExecutor() as pool:
            check_all([pool.submit(self.check, name).result for name in names])


def _plain(path: Path, device: str) -> Any:
    """Read Tensors as torch saves them.

    Read and not mapped: torch maps no file of its older format, and what a mapped network computes
    would change with the file, after its digest was checked.
    """
    import torch

    return torch.load(path, map_location=device, weights_only=True)


def _archive(path: Path, device: str) -> Any:
    """Read the Tensors of an archive of TorchScript, as OpenAI published CLIP; none of it is run.

    Numbers among them (the size of the input and such) are left out.
    """
    import warnings

    import torch

    load: Any = torch.jit.load
    with warnings.catch_warnings():
        # PyTorch 2.14 calls the format old; OpenAI's files have no other.
        warnings.simplefilter("ignore", FutureWarning)
        state = load(str(path), map_location=device).state_dict()
    sizes = ("input_resolution", "context_length", "vocab_size")
    return {name: value for name, value in state.items() if name not in sizes}


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
