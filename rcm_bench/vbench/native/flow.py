"""Optical flow by torchvision's RAFT, with the weights and the settings of VBench.

20 updates, replicated borders so that sides divide by 8. Frames are encoded once each, the flow is
brought to full size after the last update only, and what the context adds to every update is
computed once: none of it changes the result by more than rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcm_bench.errors import UserError
from rcm_bench.vbench.native.pixels import to_float
from rcm_bench.vbench.native.recurrent import Recurrent

if TYPE_CHECKING:
    from torch import Tensor

UPDATES = 20
LEAST_SIDE = 128
"""Below, RAFT's coarsest level has one pixel and the original gives NaN."""
_PAIR_BYTES = 6 << 30
"""Memory for all-pairs correlations on an accelerator."""
_MOST_GRIDS = 65535
"""Grids that are sampled at once, one for each position of each pair: cuDNN may not take more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """RAFT on a device.

    Args:
        raft: torchvision's ``raft_large`` in evaluation mode.
        device: Where it lies.
    """

    raft: Any
    device: str = "cpu"

    def magnitudes(
        self, frames: "Tensor", pairs: Sequence[tuple[int, int]], top: float
    ) -> Iterator[float]:
        """Yield the mean speed of the fastest pixels of each pair, as far as it is asked for.

        Args:
            frames: uint8 of shape (T, H, W, 3), where the network lies.
            pairs: Indices of first and second frame.
            top: Share of the pixels that are the fastest, of the padded picture.

        Raises:
            UserError: The frames are too small for RAFT.
        """
        import torch

        size = self._pairs_at_once(frames.shape[1], frames.shape[2])
        known: dict[int, Tensor] = {}
        for start in range(0, len(pairs), size):
            batch = pairs[start : start + size]
            with torch.inference_mode():
                flow = self.between(frames, batch, known)
                speed = flow.square().sum(1).sqrt().flatten(1)
                fastest = speed.topk(int(speed.shape[1] * top), dim=1, sorted=False).values
                found = fastest.mean(1).tolist()
            yield from found

    def between(
        self,
        frames: "Tensor",
        pairs: Sequence[tuple[int, int]],
        known: "dict[int, Tensor] | None" = None,
    ) -> "Tensor":
        """Return the flow of pairs in pixels, of shape (P, 2, H, W) with padded sides.

        Args:
            frames: uint8 of shape (T, H, W, 3), where the network lies.
            pairs: Indices of first and second frame.
            known: Encoded frames by index; those of the last pair are kept for the next call.
        """
        import torch

        needed = sorted({index for pair in pairs for index in pair})
        pixels = dict(zip(needed, self._padded(frames[needed]), strict=True))
        known = {} if known is None else known
        new = [index for index in needed if index not in known]
        if new:
            encoded = self.raft.feature_encoder(torch.stack([pixels[index] for index in new]))
            known.update(zip(new, encoded, strict=True))
        first = torch.stack([pixels[a] for a, _ in pairs])
        flow = self._update(
            torch.stack([known[a] for a, _ in pairs]),
            torch.stack([known[b] for _, b in pairs]),
            self.raft.context_encoder(first),
        )
        for index in [index for index in known if index not in pairs[-1]]:
            del known[index]
        return flow

    def _update(self, first: "Tensor", second: "Tensor", context: "Tensor") -> "Tensor":
        """Refine the flow from zero; all Tensors at an eighth of the size."""
        from torchvision.models.optical_flow._utils import make_coords_grid, upsample_flow

        raft = self.raft
        raft.corr_block.build_pyramid(first, second)
        size = raft.update_block.hidden_state_size
        hidden = context[:, :size].tanh()
        recurrent = Recurrent(raft.update_block.recurrent_block, context[:, size:].relu())
        start = make_coords_grid(len(first), *first.shape[-2:]).to(first.device)
        position = start
        for _ in range(UPDATES):
            correlation = raft.corr_block.index_pyramid(centroids_coords=position)
            motion = raft.update_block.motion_encoder(position - start, correlation)
            hidden = recurrent(hidden, motion)
            position = position + raft.update_block.flow_head(hidden)
        # The module would keep the correlations, the largest Tensors here, until the next pair.
        raft.corr_block.corr_pyramid = []
        full: Tensor = upsample_flow(flow=position - start, up_mask=raft.mask_predictor(hidden))
        return full

    def _padded(self, frames: "Tensor") -> "Tensor":
        """Return frames in -1..1 with borders replicated, half of what lacks on each side."""
        from torch.nn.functional import pad

        height, width = frames.shape[1:3]
        if min(height, width) < LEAST_SIDE:
            raise UserError(
                f"optical flow needs frames of at least {LEAST_SIDE} px a side, got "
                f"{width}x{height}"
            )
        down, right = -height % 8, -width % 8
        sides = (right // 2, right - right // 2, down // 2, down - down // 2)
        return pad(2 * (to_float(frames) / 255.0) - 1.0, sides, mode="replicate")

    def _pairs_at_once(self, height: int, width: int) -> int:
        """Return how many pairs fit; on a CPU one, so that no pair is computed in vain."""
        if self.device == "cpu":
            return 1
        positions = -(-height // 8) * -(-width // 8)
        fit = min(_PAIR_BYTES // (4 * 2 * positions**2), _MOST_GRIDS // positions)
        return max(1, min(16, fit))
