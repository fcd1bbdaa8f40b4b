"""What FaPN's laterals and sums are made of: selected features, and upper maps that are aligned to the lateral ones."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.ops import ModulatedDeformConv2d
from torch import Tensor, nn

from kernels.modulated_deform_conv import modulated_deform_conv


class KeptFeatures(nn.Module):
    """The place of a `FeatureAlignment` that is left out."""

    def forward(self, upper: Tensor, lateral: Tensor) -> Tensor:
        """The upper level (N, C, H, W) as it is."""
        return upper


class FeatureSelection(nn.Module):
    """A lateral that weights its channels by a gate from 1 to 2 before it narrows them (FSM, section 3.2).

    Parameters
    ----------
    in_channels, out_channels : int
        Widths. The gate is one full matrix, without a narrow layer in between and without normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(in_channels, in_channels, 1, bias=False)
        self.selection = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Select (N, C_out, H, W) from (N, C, H, W)."""
        gate = 1 + self.gate(F.adaptive_avg_pool2d(features, 1)).sigmoid()
        return self.selection(features * gate)


class FeatureAlignment(nn.Module):
    """A modulated deformable convolution of the upper map whose offsets come from both maps (FAM, section 3.1).

    Parameters
    ----------
    channels : int
        Channels of both maps and of the result.
    deform_groups : int
        Groups of channels that move together.
    offset_feat_scale : float
        Factor of the upper map where offsets are predicted.
    norm_cfg : dict, optional
        Normalisation of the offset features.
    """

    def __init__(self, channels: int, deform_groups: int, offset_feat_scale: float, norm_cfg: dict | None) -> None:
        super().__init__()
        self.deform_groups = deform_groups
        self.offset_feat_scale = offset_feat_scale
        self.offset_feature_conv = ConvModule(2 * channels, channels, 1, bias=False, norm_cfg=norm_cfg, act_cfg=None)
        self.sampling_conv = nn.Conv2d(channels, 3 * deform_groups * 9, 3, padding=1)
        self.deform_conv = ModulatedDeformConv2d(channels, channels, 3, padding=1, deform_groups=deform_groups)

    def forward(self, upper: Tensor, lateral: Tensor) -> Tensor:
        """Align an upper map (N, C, H, W), already enlarged, to a lateral of the same shape."""
        features = self.offset_feature_conv(torch.cat([lateral, self.offset_feat_scale * upper], dim=1))
        taps = self.deform_groups * 9
        offsets, logits = self.sampling_conv(features).split([2 * taps, taps], dim=1)
        layer = self.deform_conv
        return modulated_deform_conv(upper, offsets, logits.sigmoid(), layer.weight, layer.bias, self.deform_groups).relu()
