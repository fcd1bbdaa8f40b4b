"""Sums of two maps whose weights are learned: a number for each map, or one for each map and location."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from necks.layers.context_attention import Layers, MultiScaleContextAttention

# As the original, so that two weights of 0 give no division by it.
EPSILON = 1e-4
# A3-FPN's, of its finer levels.
COMPRESSED_CHANNELS, EXPANSION, BLOCKS = 16, 4, 1


class FastNormalisedSum(nn.Module):
    """(a x + b y) / (a + b), a and b at least 0 and learned: BiFPN's fast normalised fusion (arXiv 1911.09070, section 3.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        weights = F.relu(self.weights)
        first, second = weights / (weights.sum() + EPSILON)
        return (first * x + second * y).to(x.dtype)


class ContextWeightedSum(nn.Module):
    """A sum with a weight between 0 and 1 for each map and location, from narrow copies of both (A3-FPN, arXiv 2604.10210).

    It is A3-FPN's fusion of two levels, without its resampling.

    Parameters
    ----------
    channels : int
        Channels of both maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = Layers({"type": "BN"}, {"type": "GELU"})
        self.attention = MultiScaleContextAttention(
            channels, 2, COMPRESSED_CHANNELS, 1, None, EXPANSION, BLOCKS, "sigmoid", layers
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return self.attention([y, x])
