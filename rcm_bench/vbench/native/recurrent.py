"""RAFT's recurrent block, with the share of the context computed once for all updates.

Shapes: P pairs of frames, C channels, everything at an eighth of the size.

A GRU's three convolutions see the hidden state, the context and the motion, side by side. They are
linear, and the context stays: W [h, c, m] + b = W_h,m [h, m] + (W_c c + b). Of RAFT's arithmetic a
sixth falls away; sums are taken in another order, so the flow differs by rounding.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Recurrent:
    """Both GRUs of the block for given contexts.

    Args:
        block: torchvision's recurrent block of two GRUs.
        context: Of shape (P, C, H, W).
    """

    def __init__(self, block: Any, context: "Tensor") -> None:
        self._grus = [_split(gru, context) for gru in (block.convgru1, block.convgru2)]

    def __call__(self, hidden: "Tensor", motion: "Tensor") -> "Tensor":
        """Return the next hidden state; both of shape (P, C, H, W)."""
        for gru in self._grus:
            hidden = _step(gru, hidden, motion)
        return hidden


class _Gru(NamedTuple):
    """A GRU's weights without those of the context; what the context adds stands beside them."""

    gates_weight: "Tensor"
    gates_context: "Tensor"
    new_weight: "Tensor"
    new_context: "Tensor"
    padding: tuple[int, int]


def _split(gru: Any, context: "Tensor") -> _Gru:
    """Compute the context's share; the gates z and r see the same and become one convolution."""
    import torch
    from torch.nn.functional import conv2d

    size, padding = gru.convz.out_channels, gru.convz.padding
    first, last = size, size + context.shape[1]
    weight = torch.cat((gru.convz.weight, gru.convr.weight, gru.convq.weight))
    bias = torch.cat((gru.convz.bias, gru.convr.bias, gru.convq.bias))
    added = conv2d(context, weight[:, first:last].contiguous(), bias, padding=padding)
    changing = torch.cat((weight[:, :first], weight[:, last:]), dim=1)
    return _Gru(
        gates_weight=changing[: 2 * size].contiguous(),
        gates_context=added[:, : 2 * size],
        new_weight=changing[2 * size :].contiguous(),
        new_context=added[:, 2 * size :],
        padding=padding,
    )


def _step(gru: _Gru, hidden: "Tensor", motion: "Tensor") -> "Tensor":
    """Return h' = (1 - z) h + z tanh(W_q [r h, c, m])."""
    import torch
    from torch.nn.functional import conv2d

    seen = torch.cat((hidden, motion), dim=1)
    gates = conv2d(seen, gru.gates_weight, padding=gru.padding) + gru.gates_context
    update, reset = gates.sigmoid().chunk(2, dim=1)
    seen = torch.cat((reset * hidden, motion), dim=1)
    new = (conv2d(seen, gru.new_weight, padding=gru.padding) + gru.new_context).tanh()
    return (1 - update) * hidden + update * new
