"""Steps between a pyramid's levels that need no parameters and that many necks share."""

import torch.nn.functional as F
from torch import Tensor


def enlarge(upper: Tensor, lower: Tensor, mode: str = "nearest") -> Tensor:
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


def with_pooled_levels(levels: list[Tensor], num_outs: int) -> tuple[Tensor, ...]:
    """Add levels above the highest one, each a subsample of the one below it (max-pooling of kernel 1, stride 2).

    Parameters
    ----------
    levels : list of Tensor
        (N, C, H, W), finest first.
    num_outs : int
        How many levels there shall be.
    """
    levels = list(levels)
    while len(levels) < num_outs:
        levels.append(F.max_pool2d(levels[-1], 1, stride=2))
    return tuple(levels)
