"""Convolutions of kernel size 1 that read the same map, computed as one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fused_conv1x1(features: Tensor, convs: Sequence[nn.Conv2d]) -> tuple[Tensor, ...]:
    """Apply several 1x1 convolutions to one map, which is then read only once.

    Parameters
    ----------
    features : Tensor
        (N, C, H, W).
    convs : sequence of nn.Conv2d
        Convolutions of kernel size 1, with biases.

    Returns
    -------
    tuple of Tensor
        Output of each convolution, (N, C_i, H, W).
    """
    weight = torch.cat([conv.weight for conv in convs])
    bias = torch.cat([conv.bias for conv in convs])
    return F.conv2d(features, weight, bias).split([conv.out_channels for conv in convs], dim=1)
