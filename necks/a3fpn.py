"""A3-FPN: a pyramid whose levels are fused in columns of growing numbers of levels, each node seeing its whole column."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.context_attention import (
    ContextResampler,
    IntraScaleContentAttention,
    Layers,
    MultiScaleContextAttention,
    RepVGGBlock,
    ResamplerOptions,
)
from necks.layers.levels import append_pooled_levels
from necks.layers.options import check_choice

DIRECTIONS = ("top_down", "bottom_up", "single")
EXTRA_LEVELS = ("conv", "pool")
WEIGHTS = ("sigmoid", "softmax")


@MODELS.register_module()
class A3FPN(BaseModule):
    """Asymptotically disentangled pyramid with context-aware fusion and content-aware reassembly (A3-FPN, arXiv 2604.10210).

    The defaults are the published detector's neck. Height and width of the images must be multiples of the highest level's
    stride (32), because maps are enlarged and reduced by fixed factors.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs: that of the inputs, or one more.
    end_level : int, optional
        Number of levels, counted from the finest, of which the last `num_outs` are given out; 6 with five outputs gives P3
        to P7. By default `num_outs`.
    squeeze : sequence of int
        By how much each input is narrowed; 1 leaves it as it is.
    compress_channel : sequence of int
        Width of the copies that decide the weights, per level.
    group_num : sequence of int
        Groups of the reassembly's normalisation, per level.
    dcn_groups : sequence of int
        Groups of the resampler, per level.
    using_resampling : bool or sequence of bool
        Whether operands are resampled, per column or in all.
    num_repblocks, expansion
        Depth and width per operand of the weight generator.
    offset_scale : float
        Factor of the resampler's regular grid and of its offsets.
    dw_kernel_size : int or None
        Kernel size of the depthwise convolution of the resampler's context; None leaves it out.
    dcn_output_bias : bool
        Whether the projection of the resampler's result has a bias.
    dcn_norm : 'LN', dict or None
        Normalisation of the resampler's result: over channels, mmcv's, or none.
    center_feature_scale, remove_center, without_pointwise : bool
        A gate per group between result and input of the resampler; no middle tap; no projections.
    direction : {'top_down', 'bottom_up', 'single'}
        Which levels the columns begin with: the two highest (detectors), the two finest (the paper's drawing, and its
        segmentor, where the finest level reads the already updated second one), or one column of all levels (Mask2Former).
    reassembly : bool
        Whether a node reassembles its channels.
    threshold : float
        Threshold of the reassembly.
    weights : {'sigmoid', 'softmax'}
        Activation of the operands' weights.
    extra_level : {'conv', 'pool'}
        Levels above the inputs: 3x3 stride-2 convolutions, or subsamples of the highest output.
    norm_cfg : dict or False, optional
        Normalisation, SyncBN by default; False for none.
    act_cfg : dict, optional
        Activation after `norm_cfg`, GELU by default; after the normalisations over channels it always is GELU.
    init_cfg : dict, optional
        mmengine's initialisation; by default torch's own, with resamplers that give zero.

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
        end_level: int | None = None,
        squeeze: Sequence[int] = (1, 2, 4, 4),
        compress_channel: Sequence[int] = (16, 16, 16, 32),
        group_num: Sequence[int] = (16, 16, 16, 32),
        dcn_groups: Sequence[int] = (16, 16, 16, 32),
        using_resampling: bool | Sequence[bool] = True,
        num_repblocks: int = 1,
        expansion: float = 4,
        offset_scale: float = 2.0,
        dw_kernel_size: int | None = 3,
        dcn_output_bias: bool = True,
        dcn_norm: str | dict | None = "LN",
        center_feature_scale: bool = False,
        remove_center: bool = False,
        without_pointwise: bool = False,
        direction: str = "top_down",
        reassembly: bool = True,
        threshold: float = 0.5,
        weights: str = "sigmoid",
        extra_level: str = "conv",
        norm_cfg: dict | bool | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        levels = len(in_channels)
        check_choice("A3FPN", "num_outs", num_outs, (levels, levels + 1))
        check_choice("A3FPN", "direction", direction, DIRECTIONS)
        check_choice("A3FPN", "weights", weights, WEIGHTS)
        check_choice("A3FPN", "extra_level", extra_level, EXTRA_LEVELS)
        end_level = num_outs if end_level is None else end_level
        check_choice("A3FPN", "end_level", end_level, range(num_outs, num_outs + levels))
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.end_level = end_level
        self.direction = direction
        resampled = _per_column(using_resampling, levels - 1)
        widths = _working_widths(in_channels, squeeze)
        _check_levels("compress_channel", compress_channel, levels)
        for option, groups in (("group_num", group_num), ("dcn_groups", dcn_groups)):
            _check_levels(option, groups, levels)
            _check_divides(option, groups, widths)
        _check_kind("norm_cfg", norm_cfg, isinstance(norm_cfg, dict) or norm_cfg is None or norm_cfg is False, "a dict, False")
        _check_kind("dcn_norm", dcn_norm, isinstance(dcn_norm, dict) or dcn_norm in ("LN", None), "'LN', a dict, None")
        odd = dw_kernel_size is None or (dw_kernel_size > 0 and dw_kernel_size % 2 == 1)
        _check_kind("dw_kernel_size", dw_kernel_size, odd, "an odd number, None")
        _check_kind("expansion", expansion, 2 * expansion >= 1, "1/2 and more")

        layers = Layers({"type": "SyncBN"} if norm_cfg is None else norm_cfg, act_cfg or {"type": "GELU"})
        resampler = ResamplerOptions(
            offset_scale=offset_scale,
            dw_kernel_size=dw_kernel_size,
            output_bias=dcn_output_bias,
            norm=dcn_norm,
            center_feature_scale=center_feature_scale,
            remove_center=remove_center,
            without_pointwise=without_pointwise,
        )
        self.squeezes = nn.ModuleList(
            nn.Identity() if factor == 1 else layers.conv(channels, width, 1)
            for channels, width, factor in zip(in_channels, widths, squeeze, strict=True)
        )

        def node(level: int, column: Sequence[int]) -> Node:
            fusion = MultiScaleContextAttention(
                widths[level],
                operands=len(column),
                compressed_channels=compress_channel[level],
                groups=dcn_groups[level],
                resampler=resampler if resampled[len(column) - 2] else None,
                expansion=expansion,
                blocks=num_repblocks,
                weights=weights,
                layers=layers,
            )
            content = IntraScaleContentAttention(widths[level], group_num[level], threshold)
            return Node(level, column, widths, fusion, content if reassembly else nn.Identity(), layers)

        self.columns = nn.ModuleList(
            nn.ModuleDict({str(level): node(level, column) for level in column}) for column in _columns(direction, levels)
        )
        self.output_convs = nn.ModuleList(layers.conv(width, out_channels, 3, padding=1) for width in widths)
        extra_convs = end_level - levels if extra_level == "conv" else 0
        self.extra_convs = nn.ModuleList(
            layers.conv(out_channels, out_channels, 3, stride=2, padding=1) for _ in range(extra_convs)
        )
        self._freeze_what_no_output_needs()

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says; without it, resamplers start from zero weights again."""
        super().init_weights()
        for module in self.modules():
            if self.init_cfg is None and isinstance(module, ContextResampler):
                module.initialise()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first.

        The outputs are channels_last where all inputs are, else contiguous, because some operators of detection heads
        (mmcv's RoIAlign on the CPU) read every map as if it were contiguous.

        Raises
        ------
        ValueError
            If a level is missing or not exactly twice as high and wide as the next.
        """
        _check_sizes(inputs, len(self.in_channels))
        contiguous = any(not features.is_contiguous(memory_format=torch.channels_last) for features in inputs)
        outputs = self._fuse([features.contiguous(memory_format=torch.channels_last) for features in inputs])
        return tuple(output.contiguous() for output in outputs) if contiguous else outputs

    def deploy(self) -> None:
        """Fuse the parallel convolutions of the weight generators for inference; what the neck gives in eval mode stays.

        Raises
        ------
        ValueError
            If the normalisation is not a batch normalisation.
        """
        for module in self.modules():
            if isinstance(module, RepVGGBlock):
                module.fuse()

    def _fuse(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        levels = [squeeze(features) for squeeze, features in zip(self.squeezes, inputs, strict=True)]
        for nodes in self.columns[:-1]:
            self._update(levels, nodes)
        kept = range(self.end_level - self.num_outs, len(levels))
        last = [self.columns[-1][str(level)](levels) for level in kept]
        outputs = [self.output_convs[level](features) for level, features in zip(kept, last, strict=True)]
        for conv in self.extra_convs:
            outputs.append(conv(outputs[-1]))
        return append_pooled_levels(outputs, self.num_outs)

    def _update(self, levels: list[Tensor], nodes: nn.ModuleDict) -> None:
        """Replace the levels of a column by what its nodes give."""
        if self.direction == "bottom_up" and len(nodes) == 2:
            levels[1] = nodes["1"](levels)
            levels[0] = nodes["0"](levels)
            return
        updated = {int(level): node(levels) for level, node in nodes.items()}
        for level, features in updated.items():
            levels[level] = features

    def _freeze_what_no_output_needs(self) -> None:
        # The original computes and discards these levels; distributed training would wait for their gradients.
        for level in range(self.end_level - self.num_outs):
            self.columns[-1][str(level)].requires_grad_(False)
            self.output_convs[level].requires_grad_(False)


class Node(nn.Module):
    """One level of one column: the column's other levels are brought to its size and width and fused with it.

    Parameters
    ----------
    level : int
        The node's own.
    column : sequence of int
        All levels of the column.
    widths : sequence of int
        Channels of every level of the neck.
    fusion : nn.Module
        Of the operands: coarser levels and then finer ones, the nearest first, and the node's own last.
    reassembly : nn.Module
        Reassembly of the result.
    layers : Layers
        Normalisation and activation.
    """

    def __init__(
        self,
        level: int,
        column: Sequence[int],
        widths: Sequence[int],
        fusion: nn.Module,
        reassembly: nn.Module,
        layers: Layers,
    ) -> None:
        super().__init__()
        self.level = level
        self.coarser = [other for other in column if other > level]
        self.finer = [other for other in reversed(column) if other < level]
        width = widths[level]
        self.samplers = nn.ModuleDict()
        for other in self.coarser:
            self.samplers[str(other)] = nn.Identity() if widths[other] == width else layers.conv(widths[other], width, 1)
        for other in self.finer:
            factor = 2 ** (level - other)
            groups = width if widths[other] == width else 1
            self.samplers[str(other)] = layers.conv(widths[other], width, factor, stride=factor, groups=groups)
        self.fusion = fusion
        self.reassembly = reassembly

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """The new map (N, C, H, W) of this level, from all levels of the neck."""
        size = levels[self.level].shape[2:]
        enlarged = [
            F.interpolate(self.samplers[str(other)](levels[other]), size=size, mode="bilinear", align_corners=False)
            for other in self.coarser
        ]
        reduced = [self.samplers[str(other)](levels[other]) for other in self.finer]
        return self.reassembly(self.fusion([*enlarged, *reduced, levels[self.level]]))


def _columns(direction: str, levels: int) -> list[list[int]]:
    """The levels of each column."""
    if direction == "single":
        return [list(range(levels))]
    if direction == "top_down":
        return [list(range(levels - number, levels)) for number in range(2, levels + 1)]
    return [list(range(number)) for number in range(2, levels + 1)]


def _per_column(using_resampling: bool | Sequence[bool], columns: int) -> Sequence[bool]:
    if isinstance(using_resampling, bool):
        return [using_resampling] * columns
    _check_list("using_resampling", using_resampling, columns)
    return using_resampling


def _working_widths(in_channels: Sequence[int], squeeze: Sequence[int]) -> list[int]:
    """Channels of each level inside of the neck."""
    _check_levels("squeeze", squeeze, len(in_channels))
    widths = [channels // factor for channels, factor in zip(in_channels, squeeze, strict=True)]
    _check_kind("squeeze", list(squeeze), min(widths) >= 1, f"at most the widths of the levels, {list(in_channels)}")
    return widths


def _check_kind(option: str, value: object, right: bool, allowed: str) -> None:
    if not right:
        raise ValueError(f"A3FPN: {option} is {value!r}; allowed: {allowed}")


def _check_list(option: str, values: Sequence[object], length: int) -> None:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"A3FPN: {option} is {values!r}; it must be a list of {length} entries")
    if len(values) != length:
        raise ValueError(f"A3FPN: {option} has {len(values)} entries; it must have {length}")


def _check_levels(option: str, values: Sequence[int], levels: int) -> None:
    _check_list(option, values, levels)
    if min(values) < 1:
        raise ValueError(f"A3FPN: {option} is {list(values)}; every entry must be at least 1")


def _check_divides(option: str, groups: Sequence[int], widths: Sequence[int]) -> None:
    for level, (number, width) in enumerate(zip(groups, widths, strict=True)):
        if width % number:
            raise ValueError(f"A3FPN: {option} of level {level} is {number}; it must divide the level's {width} channels")


def _check_sizes(inputs: Sequence[Tensor], levels: int) -> None:
    if len(inputs) != levels:
        raise ValueError(f"A3FPN: got {len(inputs)} levels; in_channels names {levels}")
    for finer, coarser in pairwise(inputs):
        if any(2 * small != large for small, large in zip(coarser.shape[2:], finer.shape[2:], strict=True)):
            sizes = ", ".join("{} x {}".format(*features.shape[2:]) for features in inputs)
            divisor = 2 ** (len(inputs) + 1)
            raise ValueError(
                f"A3FPN: the levels {sizes} do not halve exactly; pad the images to multiples of the highest level's stride,"
                f" pad_size_divisor={divisor} for strides from 4"
            )
