"""FPN whose levels are enlarged by DySample: bilinear samples at learned points."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList, constant_init, normal_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.levels import append_pooled_levels, top_down
from necks.layers.options import check_choice, check_num_outs

STYLES = ("lp", "pl")
SCALE = 2


@MODELS.register_module()
class DySampleFPN(BaseModule):
    """FPN with DySample in the place of nearest interpolation (DySample, ICCV 2023, arXiv 2308.15085).

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of `groups`.
    num_outs : int
        Number of outputs, at least the number of inputs; levels above them are subsampled from the highest output.
    style, groups, dyscope
        Options of `DySample`.
    init_cfg : dict, optional
        mmengine's initialisation of all layers; by default Xavier (uniform) as FPN has, and DySample's own for its layers.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed, or the widths do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        style: str = "lp",
        groups: int = 4,
        dyscope: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"})
        check_num_outs("DySampleFPN", num_outs, len(in_channels))
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.upsamplers = ModuleList(DySample(out_channels, style, groups, dyscope) for _ in in_channels[:-1])
        self.output_convs = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first.

        Each level may have at most twice the height and width of the one above it.
        """
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        merged = top_down(laterals, self.upsamplers, _merge)
        outputs = [conv(level) for conv, level in zip(self.output_convs, merged, strict=True)]
        return append_pooled_levels(outputs, self.num_outs)


def _merge(upsampler: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    height, width = lateral.shape[2:]
    return lateral + upsampler(upper)[..., :height, :width]


class DySample(BaseModule):
    """Enlarge a map by 2 with bilinear samples at points that a convolution moves, section 3 of the paper.

    Parameters
    ----------
    channels : int
        Channels of the map, a multiple of `groups`, and of 4 with style 'pl'.
    style : {'lp', 'pl'}
        Offsets from a convolution and then a pixel shuffle, or the reverse.
    groups : int
        Groups of channels that share their points.
    dyscope : bool
        Whether the range of the offsets, 0.25 of a pixel for a unit of the convolution's output, is itself predicted,
        from 0 to 0.5.

    Raises
    ------
    ValueError
        If `style` is unknown or the channels do not fit.
    """

    def __init__(self, channels: int, style: str = "lp", groups: int = 4, dyscope: bool = False) -> None:
        super().__init__()
        check_choice("DySample", "style", style, STYLES)
        unit = math.lcm(groups, SCALE**2) if style == "pl" else groups
        if channels % unit:
            raise ValueError(
                f"DySample: groups is {groups}; with style {style!r} the {channels} channels must be a multiple of {unit}"
            )
        self.style = style
        self.groups = groups
        read, written = (channels // SCALE**2, 2 * groups) if style == "pl" else (channels, 2 * groups * SCALE**2)
        self.offset = nn.Conv2d(read, written, 1)
        self.scope = nn.Conv2d(read, written, 1, bias=False) if dyscope else None
        self._initialise()

    def init_weights(self) -> None:
        """Start near bilinear interpolation."""
        self._initialise()

    def _initialise(self) -> None:
        normal_init(self.offset, std=0.001)
        if self.scope is not None:
            constant_init(self.scope, 0)

    def forward(self, features: Tensor) -> Tensor:
        """Enlarge (N, C, H, W) to (N, C, 2 H, 2 W)."""
        batch, channels, height, width = features.shape
        # Coordinates need more than bfloat16's eight significant bits.
        precise = features if features.dtype == torch.float64 else features.float()
        grid = self._points(features).to(precise.dtype).reshape(batch * self.groups, SCALE * height, SCALE * width, 2)
        grouped = precise.reshape(batch * self.groups, channels // self.groups, height, width)
        sampled = F.grid_sample(grouped, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return sampled.view(batch, channels, SCALE * height, SCALE * width).to(features.dtype)

    def _points(self, features: Tensor) -> Tensor:
        """Where to sample, (x, y) in grid_sample's coordinates from -1 to 1, (N, groups, 2 H, 2 W, 2)."""
        batch, _, height, width = features.shape
        offsets = self._offsets(features).view(batch, 2, self.groups, SCALE * height, SCALE * width)
        precise = offsets if offsets.dtype == torch.float64 else offsets.float()
        along_x, along_y = (
            (torch.arange(SCALE * length, dtype=precise.dtype, device=features.device) + 0.5) / SCALE
            for length in (width, height)
        )
        x = 2 * (precise[:, 0] + along_x) / width - 1
        y = 2 * (precise[:, 1] + along_y[:, None]) / height - 1
        return torch.stack([x, y], dim=-1)

    def _offsets(self, features: Tensor) -> Tensor:
        """Shift of each sample in pixels of the small map, first all x, then all y, (N, 2 * groups, 2 H, 2 W)."""
        if self.style == "pl":
            return self._ranged(F.pixel_shuffle(features, SCALE))
        return F.pixel_shuffle(self._ranged(features), SCALE)

    def _ranged(self, features: Tensor) -> Tensor:
        if self.scope is not None:
            return self.offset(features) * (0.5 * self.scope(features).sigmoid())
        return self.offset(features) * 0.25
