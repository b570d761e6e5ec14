"""Small heads on a diffusion transformer: a discriminator, and the weight of a loss over time.

Shape legend: B batch, N image tokens, D width, K time features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class QueryHead(nn.Module):
    """One learned query that attends to all tokens and becomes a logit, positive for data.

    As the rCM paper (2510.08431v3) does for its DMD2 baseline. Differs from DMD2 (2405.14867),
    whose head is a stack of convolutions on the bottleneck of a U-Net. Starts at 0 everywhere.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        """Make a head for tokens of a width."""
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.key_value = nn.Linear(width, 2 * width)
        self.logit = nn.Linear(width, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return logits (B,), at least float32, of tokens (B, N, D)."""
        normed = functional.layer_norm(x_BND, x_BND.shape[-1:])
        key, value = self.key_value(normed).chunk(2, dim=-1)
        query = self.query.to(key.dtype).expand(len(key), -1, -1)
        parts = (p.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for p in (query, key, value))
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(1)
        logit: Tensor = self.logit(functional.silu(mixed)).squeeze(-1)
        return logit.to(torch.promote_types(logit.dtype, torch.float32))


class TimeHead(nn.Module):
    """A linear function of time features: sCM's learned weight (2410.11081). Starts at 0."""

    def __init__(self, num_features: int) -> None:
        """Make a head for K features."""
        super().__init__()
        self.linear = nn.Linear(num_features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_BK: Tensor) -> Tensor:
        """Return (B,) of time features (B, K)."""
        found: Tensor = self.linear(features_BK).squeeze(-1)
        return found
