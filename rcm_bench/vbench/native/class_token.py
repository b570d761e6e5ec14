"""The last block of a vision transformer, for the class token alone: nothing else of it is read.

A block costs the class token two products with all tokens (keys and values), and a T-th of
everything else, so that nearly all of the block falls away.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


class ClassTokenBlock(nn.Module):
    """A block x + attention(norm1(x)), x + mlp(norm2(x)) that returns its first token only.

    Args:
        norm1: Norm before the attention.
        attention: Weight and bias of queries, keys and values, stacked, and of the output.
        num_heads: Heads of the attention.
        norm2: Norm before the perceptron.
        mlp: The perceptron.
    """

    weight: Tensor
    bias: Tensor
    out: Tensor
    out_bias: Tensor

    def __init__(
        self,
        norm1: nn.Module,
        attention: tuple[Tensor, Tensor, Tensor, Tensor],
        num_heads: int,
        norm2: nn.Module,
        mlp: nn.Module,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.num_heads = norm1, norm2, mlp, num_heads
        for name, value in zip(("weight", "bias", "out", "out_bias"), attention, strict=True):
            self.register_buffer(name, value.detach())

    def forward(self, tokens: Tensor, attn_mask: None = None) -> Tensor:
        """Return the class token, of shape (T, 1, D), of tokens of shape (T, L, D)."""
        weight, bias, out, out_bias = self.weight, self.bias, self.out, self.out_bias
        width = tokens.shape[-1]
        seen = self.norm1(tokens)
        query = linear(seen[:, :1], weight[:width], bias[:width])
        key, value = linear(seen, weight[width:], bias[width:]).chunk(2, dim=-1)
        size = (self.num_heads, width // self.num_heads)
        q, k, v = (x.reshape(*x.shape[:2], *size).transpose(1, 2) for x in (query, key, value))
        read = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        first = tokens[:, :1] + linear(read, out, out_bias)
        changed: Tensor = first + self.mlp(self.norm2(first))
        return changed


def last_of_timm(block: Any) -> ClassTokenBlock:
    """Return timm's block, without scales of its layers, for the class token."""
    own = block.attn
    attention = (own.qkv.weight, own.qkv.bias, own.proj.weight, own.proj.bias)
    return ClassTokenBlock(block.norm1, attention, own.num_heads, block.norm2, block.mlp)


def last_of_open_clip(block: Any) -> ClassTokenBlock:
    """Return open_clip's block, without scales of its layers, for the class token."""
    own = block.attn
    attention = (own.in_proj_weight, own.in_proj_bias, own.out_proj.weight, own.out_proj.bias)
    return ClassTokenBlock(block.ln_1, attention, own.num_heads, block.ln_2, block.mlp)
