"""FCAT: FPN whose sum is a concatenation that the output's 3x3 convolution fuses."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.levels import append_pooled_levels, top_down, upsample_like
from necks.layers.options import check_num_outs


@MODELS.register_module()
class FCAT(BaseModule):
    """The concatenating baseline of MSSA and MSCA (OpenReview PZoy8i_Dp6).

    As in the original, the level below the highest reads the highest lateral before its 3x3 convolution, and the levels
    below that read convolved ones.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs, at least the number of inputs; levels above them are subsampled from the highest output.
    init_cfg : dict, optional
        mmengine's initialisation; Xavier, uniform by default.

    Raises
    ------
    ValueError
        If there are fewer outputs than inputs.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, num_outs: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg or {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"})
        check_num_outs("FCAT", num_outs, len(in_channels))
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.fusion_convs = nn.ModuleList(nn.Conv2d(2 * out_channels, out_channels, 3, padding=1) for _ in in_channels[:-1])
        self.top_conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first."""
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        merged = top_down(laterals, self.fusion_convs, _merge)
        return append_pooled_levels([*merged[:-1], self.top_conv(merged[-1])], self.num_outs)


def _merge(conv: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return conv(torch.cat([lateral, upsample_like(upper, lateral)], dim=1))
