"""A²-FPN and its ablations: a pyramid of independently chosen lateral, top-down, bottom-up and extra-level operations."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.fusion import (
    ACTIVATIONS,
    CapAdd,
    CarafeAdd,
    GlobalAttentionCap,
    GlobalAttentionCarafe,
    NearestAdd,
    StridedConvAdd,
)
from necks.layers.global_context import MultiLevelGlobalContext
from necks.layers.levels import append_pooled_levels, top_down
from necks.layers.options import check_choice, check_num_outs

LATERALS = ("conv", "mgc")
TOP_DOWNS = ("nearest", "carafe", "gacarafe")
BOTTOM_UPS = ("none", "conv", "cap", "gacap")
EXTRA_LEVELS = ("pool", "conv")
CONTEXT_RULES = ("descending", "ascending", "uniform")


@MODELS.register_module()
class A2FPN(BaseModule):
    """Attention Aggregation based Feature Pyramid Network (A²-FPN, arXiv 2105.03186) and every ablation of its paper.

    The defaults are the full A²-FPN. ``lateral='conv', top_down='nearest', extra_level='pool'`` with ``bottom_up='none'`` is
    FPN and with ``bottom_up='conv'`` PAFPN, equal in parameters and outputs to mmdet's own.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of 4.
    num_outs : int
        Number of outputs, at least the number of inputs.
    lateral : {'conv', 'mgc'}
        1x1 convolution, or Multi-level Global Context.
    top_down : {'nearest', 'carafe', 'gacarafe'}
        Fusion of a level with the one above it.
    bottom_up : {'none', 'conv', 'cap', 'gacap'}
        Fusion of a level with the one below it.
    extra_level : {'pool', 'conv'}
        'pool': levels beyond the inputs are subsampled from the highest output. 'conv': the first of them is a 3x3 stride-2
        convolution of the highest input that takes part in both paths; the lowest level then has a second 3x3 convolution too.
    context_ratio : float
        Channels of a context vector of 'mgc' as a share of `out_channels`; together a multiple of 4. A²-FPN-Lite has 0.5.
    contexts : {'descending', 'ascending', 'uniform'}
        How many context vectors 'mgc' collects from each of L levels, i counted from the finest as 1, in units of a quarter of
        the context channels: L + 1 - i, i, or (L + 1) / 2. In the paper's terms 64(6 - i), 64(i - 1) and 160.
    gcn : bool
        Whether the context vectors of 'mgc' exchange information.
    activation : {'2sigmoid', 'sigmoid'}
        Activation of the channel weights of 'gacarafe' and 'gacap'.
    orthogonal_weight : float
        Weight of the orthogonal regularisation of 'mgc' in the training loss.
    init_cfg : dict, optional
        mmengine's initialisation of the layers.

    Raises
    ------
    ValueError
        If an option has a value that is not among the allowed ones, or the widths do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        lateral: str = "mgc",
        top_down: str = "gacarafe",
        bottom_up: str = "gacap",
        extra_level: str = "conv",
        context_ratio: float = 1.0,
        contexts: str = "descending",
        gcn: bool = True,
        activation: str = "2sigmoid",
        orthogonal_weight: float = 1e-4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {"type": "Xavier", "layer": ["Conv1d", "Conv2d", "Linear"], "distribution": "uniform"})
        check_choice("A2FPN", "lateral", lateral, LATERALS)
        check_choice("A2FPN", "top_down", top_down, TOP_DOWNS)
        check_choice("A2FPN", "bottom_up", bottom_up, BOTTOM_UPS)
        check_choice("A2FPN", "extra_level", extra_level, EXTRA_LEVELS)
        check_choice("A2FPN", "contexts", contexts, CONTEXT_RULES)
        check_choice("A2FPN", "activation", activation, ACTIVATIONS)
        context_channels = int(context_ratio * out_channels)
        _check_widths(in_channels, out_channels, num_outs, context_channels)
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.orthogonal_weight = orthogonal_weight
        # Attention and reassembly read all channels of a location, which channels_last stores side by side.
        self.channels_last = lateral == "mgc" or top_down != "nearest" or bottom_up in ("cap", "gacap")
        levels = len(in_channels) + (extra_level == "conv" and num_outs > len(in_channels))

        self.context: MultiLevelGlobalContext | None = None
        self.lateral_convs = nn.ModuleList()
        if lateral == "mgc":
            numbers = _numbers_of_contexts(contexts, len(in_channels), context_channels)
            self.context = MultiLevelGlobalContext(in_channels, out_channels, context_channels, numbers, gcn)
        else:
            self.lateral_convs = nn.ModuleList(_conv(channels, out_channels, 1) for channels in in_channels)
        self.extra_conv = _conv(in_channels[-1], out_channels, 3, stride=2) if levels > len(in_channels) else None
        top_down_fusion = {
            "nearest": NearestAdd,
            "carafe": lambda: CarafeAdd(out_channels),
            "gacarafe": lambda: GlobalAttentionCarafe(out_channels, activation),
        }[top_down]
        bottom_up_fusion = {
            "none": None,
            "conv": lambda: StridedConvAdd(out_channels),
            "cap": lambda: CapAdd(out_channels),
            "gacap": lambda: GlobalAttentionCap(out_channels, activation),
        }[bottom_up]
        self.top_down_fusions = nn.ModuleList(top_down_fusion() for _ in range(levels - 1))
        self.fpn_convs = nn.ModuleList(_conv(out_channels, out_channels, 3) for _ in range(levels))
        self.bottom_up_fusions, self.pafpn_convs = nn.ModuleList(), nn.ModuleList()
        if bottom_up_fusion:
            self.bottom_up_fusions = nn.ModuleList(bottom_up_fusion() for _ in range(levels - 1))
            second_convs = levels - 1 if extra_level == "pool" else levels
            self.pafpn_convs = nn.ModuleList(_conv(out_channels, out_channels, 3) for _ in range(second_convs))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first.

        The outputs have the memory format of the inputs, because some operators of detection heads (mmcv's RoIAlign on the
        CPU) read every map as if it were contiguous.
        """
        if self.channels_last and all(features.is_contiguous() for features in inputs):
            outputs = self._fuse([features.contiguous(memory_format=torch.channels_last) for features in inputs])
            return tuple(output.contiguous() for output in outputs)
        return self._fuse(inputs)

    def _fuse(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        laterals = self._laterals(inputs)
        merged = top_down(laterals, self.top_down_fusions, _merge)
        outputs = [conv(level) for conv, level in zip(self.fpn_convs, merged, strict=True)]
        if self.bottom_up_fusions:
            outputs = self._second_convs(self._bottom_up(outputs))
        return append_pooled_levels(outputs, self.num_outs)

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Loss terms that depend on the parameters alone: the orthogonal regularisation of 'mgc', weighted."""
        if self.context is None:
            return {}
        return {"loss_orthogonal": self.orthogonal_weight * self.context.orthogonality()}

    def _laterals(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self.context is not None:
            laterals = self.context(inputs)
        else:
            laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        if self.extra_conv is not None:
            laterals.append(self.extra_conv(inputs[-1]))
        return laterals

    def _bottom_up(self, levels: Sequence[Tensor]) -> list[Tensor]:
        merged = [levels[0]]
        for fusion, level in zip(self.bottom_up_fusions, levels[1:], strict=True):
            merged.append(fusion(merged[-1], level))
        return merged

    def _second_convs(self, levels: list[Tensor]) -> list[Tensor]:
        untouched = len(levels) - len(self.pafpn_convs)
        convolved = [conv(level) for conv, level in zip(self.pafpn_convs, levels[untouched:], strict=True)]
        return levels[:untouched] + convolved


def _merge(fusion: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return fusion(upper, lateral)


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ConvModule:
    return ConvModule(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, act_cfg=None)


def _numbers_of_contexts(rule: str, levels: int, context_channels: int) -> list[int]:
    unit = context_channels // 4
    multiples = {
        "descending": range(levels, 0, -1),
        "ascending": range(1, levels + 1),
        "uniform": [(levels + 1) / 2] * levels,
    }[rule]
    return [int(multiple * unit) for multiple in multiples]


def _check_widths(in_channels: Sequence[int], out_channels: int, num_outs: int, context_channels: int) -> None:
    check_num_outs("A2FPN", num_outs, len(in_channels))
    for option, width in (("out_channels", out_channels), ("context_ratio * out_channels", context_channels)):
        if width <= 0 or width % 4:
            raise ValueError(f"A2FPN: {option} is {width}; it must be a multiple of 4, above 0")
