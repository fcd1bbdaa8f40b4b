"""Attentional feature fusion: two maps become one by multi-scale channel attention (AFF, iAFF and their alternatives)."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from necks.layers.options import check_choice

FUSIONS = ("aff", "iaff", "add", "concat", "ms_gau", "ms_se", "ms_sa")
CONTEXTS = {"global+local": ("global", "local"), "global+global": ("global", "global"), "local+local": ("local", "local")}


def build_fusion(
    fusion: str,
    channels: int,
    reduction: int = 4,
    context: str = "global+local",
    scale: float = 2,
    norm_cfg: dict | None = None,
    global_norm_cfg: dict | None = None,
    share_second_global: bool = False,
) -> nn.Module:
    """A module that fuses two maps (N, C, H, W), x and y, into one.

    Parameters
    ----------
    fusion : {'aff', 'iaff', 'add', 'concat', 'ms_gau', 'ms_se', 'ms_sa'}
        With M the weights of `MultiScaleAttention`: 'aff' scale * (x w + y (1 - w)), w = M(x + y); 'iaff' the same twice
        without the scale, the first result deciding the second weights; 'add' x + y; 'concat' a 1x1 convolution of both;
        'ms_gau' M(y) x + y; 'ms_se' x + M(y) y; 'ms_sa' M(x + y) x + y.
    channels : int
        C.
    reduction, context, norm_cfg, global_norm_cfg
        Options of `MultiScaleAttention`.
    scale : {1, 2}
        Factor of 'aff': 2 in the published code, 1 in the paper's equation 4.
    share_second_global : bool
        Let the second step of 'iaff' use the first step's global branch, as a widely used port of it does by mistake; its own
        stays without use and without gradient.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """
    check_choice("attentional fusion", "fusion", fusion, FUSIONS)
    check_choice("attentional fusion", "context", context, tuple(CONTEXTS))
    check_choice("attentional fusion", "scale", scale, (1, 2))
    if not 1 <= reduction <= channels:
        raise ValueError(f"attentional fusion: reduction is {reduction}; allowed: 1 to the width, {channels}")
    norms = {"norm_cfg": norm_cfg, "global_norm_cfg": global_norm_cfg}
    attention: dict[str, Any] = {"reduction": reduction, "context": context, **norms}
    builders: dict[str, Callable[[], nn.Module]] = {
        "aff": lambda: AttentionalFusion(channels, scale, **attention),
        "iaff": lambda: IterativeAttentionalFusion(channels, share_second_global, **attention),
        "add": Addition,
        "concat": lambda: Concatenation(channels),
        "ms_gau": lambda: WeightedSum(_modulate, channels, **attention),
        "ms_se": lambda: WeightedSum(_refine, channels, **attention),
        "ms_sa": lambda: WeightedSum(_modulate_jointly, channels, **attention),
    }
    return builders[fusion]()


class MultiScaleAttention(nn.Module):
    """Weights in (0, 1) for each channel and location, from a local and a global branch (MS-CAM, equations 1 to 3).

    Parameters
    ----------
    channels : int
        Channels of the map.
    reduction : int
        By how much the hidden layer of a branch is narrower.
    context : {'global+local', 'global+global', 'local+local'}
        Inputs of the two branches: the mean of the map, or each location.
    norm_cfg : dict, optional
        Normalisation in both branches, SyncBN by default.
    global_norm_cfg : dict, optional
        Another normalisation for branches that see the mean: batch normalisation has one value per image and channel there.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 4,
        context: str = "global+local",
        norm_cfg: dict | None = None,
        global_norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or {"type": "SyncBN"}
        norms = {"local": norm_cfg, "global": global_norm_cfg or norm_cfg}
        self.sees_mean = [kind == "global" for kind in CONTEXTS[context]]
        self.branches = nn.ModuleList(_branch(channels, channels // reduction, norms[kind]) for kind in CONTEXTS[context])

    def forward(self, features: Tensor) -> Tensor:
        """Weights (N, C, H, W) for a map of that shape."""
        return self.weights(features, self.branches)

    def weights(self, features: Tensor, branches: Sequence[nn.Module]) -> Tensor:
        """Weights (N, C, H, W) with given branches."""
        mean = F.adaptive_avg_pool2d(features, 1) if any(self.sees_mean) else features
        first, second = (
            branch(mean if sees_mean else features) for branch, sees_mean in zip(branches, self.sees_mean, strict=True)
        )
        return (first + second).sigmoid()


def _branch(channels: int, hidden: int, norm_cfg: dict) -> nn.Sequential:
    # As in the original, these convolutions have biases although a normalisation follows.
    return nn.Sequential(
        OrderedDict(
            narrow=nn.Conv2d(channels, hidden, 1),
            narrow_norm=build_norm_layer(norm_cfg, hidden)[1],
            relu=nn.ReLU(inplace=True),
            widen=nn.Conv2d(hidden, channels, 1),
            widen_norm=build_norm_layer(norm_cfg, channels)[1],
        )
    )


class AttentionalFusion(nn.Module):
    """A soft choice between two maps: scale * (x w + y (1 - w)), w the attention of their sum (AFF, equation 4).

    Parameters
    ----------
    channels : int
        Channels of both maps.
    scale : {1, 2}
        Factor of the result.
    attention : dict
        Options of `MultiScaleAttention`.
    """

    def __init__(self, channels: int, scale: float, **attention: Any) -> None:
        super().__init__()
        self.scale = scale
        self.attention = MultiScaleAttention(channels, **attention)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return self.scale * _choose(x, y, self.attention(x + y))


class IterativeAttentionalFusion(nn.Module):
    """A soft choice whose weights come from a first soft choice with weights of its own (iAFF, equation 5).

    Parameters
    ----------
    channels : int
        Channels of both maps.
    share_second_global : bool
        Whether the second step uses the first step's global branch.
    attention : dict
        Options of `MultiScaleAttention`.
    """

    def __init__(self, channels: int, share_second_global: bool, **attention: Any) -> None:
        super().__init__()
        self.share_second_global = share_second_global
        self.first_attention = MultiScaleAttention(channels, **attention)
        self.second_attention = MultiScaleAttention(channels, **attention)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        mixture = _choose(x, y, self.first_attention(x + y))
        return _choose(x, y, self.second_attention.weights(mixture, self._second_branches()))

    def _second_branches(self) -> Sequence[nn.Module]:
        first, second = self.first_attention, self.second_attention
        if not self.share_second_global:
            return second.branches
        pairs = zip(first.branches, second.branches, first.sees_mean, strict=True)
        return [of_first if sees_mean else of_second for of_first, of_second, sees_mean in pairs]


def _choose(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """x w + y (1 - w), also of maps of different precision, which autocast may give."""
    return y + weight * (x - y)


class Addition(nn.Module):
    """The plain sum of two maps."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return x + y


class Concatenation(nn.Module):
    """A 1x1 convolution of two stacked maps.

    Parameters
    ----------
    channels : int
        Channels of both maps and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return self.conv(torch.cat([x, y], dim=1))


class WeightedSum(nn.Module):
    """A sum with attention in one of its terms (MS-GAU, MS-SE and MS-SA of the paper's Table 4).

    Parameters
    ----------
    formula : callable
        The sum, of the attention, the first map and the second.
    channels : int
        Channels of both maps.
    attention : dict
        Options of `MultiScaleAttention`.
    """

    def __init__(
        self, formula: Callable[[MultiScaleAttention, Tensor, Tensor], Tensor], channels: int, **attention: Any
    ) -> None:
        super().__init__()
        self.formula = formula
        self.attention = MultiScaleAttention(channels, **attention)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return self.formula(self.attention, x, y)


def _modulate(attention: MultiScaleAttention, x: Tensor, y: Tensor) -> Tensor:
    return attention(y) * x + y


def _refine(attention: MultiScaleAttention, x: Tensor, y: Tensor) -> Tensor:
    return x + attention(y) * y


def _modulate_jointly(attention: MultiScaleAttention, x: Tensor, y: Tensor) -> Tensor:
    return attention(x + y) * x + y
