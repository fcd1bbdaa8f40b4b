"""Steps between a pyramid's levels that need no parameters and that many necks share."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def top_down(
    laterals: Sequence[Tensor], layers: Sequence[nn.Module], merge: Callable[[nn.Module, Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """Walk from the coarsest level to the finest, merging each level into the one below it.

    Parameters
    ----------
    laterals : sequence of Tensor
        (N, C, H_i, W_i), finest first.
    layers : sequence of nn.Module
        One fewer than levels, finest first.
    merge : callable
        Takes a layer, the merged level above, and the lateral of the level; returns the merged level (N, C, H_i, W_i).

    Returns
    -------
    list of Tensor
        (N, C, H_i, W_i), finest first; the coarsest is its lateral.
    """
    merged = [laterals[-1]]
    for layer, lateral in zip(reversed(layers), reversed(laterals[:-1]), strict=True):
        merged.append(merge(layer, merged[-1], lateral))
    return merged[::-1]


def upsample_like(upper: Tensor, lower: Tensor, mode: str = "nearest") -> Tensor:
    """Bring a level to the exact size of the one below it.

    Parameters
    ----------
    upper : Tensor
        (N, C, h, w).
    lower : Tensor
        (N, ..., H, W).
    mode : {'nearest', 'bilinear'}
        Interpolation; bilinear is torch's with ``align_corners=False``.

    Returns
    -------
    Tensor
        (N, C, H, W), in the dtype of `upper`, which autocast would widen; `upper` itself where the sizes are equal.
    """
    if upper.shape[2:] == lower.shape[2:]:
        return upper
    align_corners = None if mode == "nearest" else False
    return F.interpolate(upper, size=lower.shape[2:], mode=mode, align_corners=align_corners).to(upper.dtype)


def append_pooled_levels(levels: list[Tensor], num_outs: int) -> tuple[Tensor, ...]:
    """Add levels above the highest one, each a subsample of the one below it (max-pooling of kernel 1, stride 2).

    Parameters
    ----------
    levels : list of Tensor
        (N, C, H, W), finest first.
    num_outs : int
        Number of levels of the result.
    """
    levels = list(levels)
    while len(levels) < num_outs:
        levels.append(F.max_pool2d(levels[-1], 1, stride=2))
    return tuple(levels)
