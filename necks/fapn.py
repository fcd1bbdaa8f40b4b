"""FaPN: a pyramid whose laterals select features and whose upper maps are aligned to them by deformable convolution."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.ops import ModulatedDeformConv2d
from mmengine.model import BaseModule, caffe2_xavier_init, constant_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.feature_alignment import FeatureAlignment, FeatureSelection, KeptFeatures
from necks.layers.group_norm import with_groups
from necks.layers.levels import append_pooled_levels, top_down, upsample_like
from necks.layers.options import check_choice, check_num_outs

EXTRA_LEVELS = ("pool", "conv_c5", "conv_p5")


@MODELS.register_module()
class FaPN(BaseModule):
    """Feature-aligned Pyramid Network (FaPN, ICCV 2021, arXiv 2108.07058).

    The highest output is the raw lateral, without a 3x3 convolution, unless `conv_on_p5` is set. Sizes may be odd.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of `deform_groups`.
    num_outs : int
        Number of outputs, at least the number of inputs.
    use_fsm : bool
        Feature selection in the laterals; without it they are 1x1 convolutions with bias.
    use_fam : bool
        Feature alignment of the upper maps; without it they are added as enlarged.
    deform_groups : int
        Groups of channels that the alignment moves together.
    offset_feat_scale : float
        Factor of the upper map where offsets are predicted, and only there.
    norm_cfg : dict, optional
        Normalisation after the convolution of the offset features, the highest lateral and the outputs. None in the paper. GN
        without `num_groups` has Detectron2's 32, or as many of them as divide the width.
    conv_on_p5 : bool
        Whether the highest output has a 3x3 convolution too.
    extra_levels : {'pool', 'conv_c5', 'conv_p5'}
        Levels beyond the inputs: subsampled from the highest output, or 3x3 stride-2 convolutions of the highest input or
        of the highest output, with a ReLU between two of them.
    start_level : int
        The finest input that takes part; RetinaNet has 1, with 'conv_c5'.
    init_cfg : dict, optional
        mmengine's initialisation; by default the original's: Caffe2's Xavier, a zero offset branch, and torch's default for
        the highest lateral.

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
        use_fsm: bool = True,
        use_fam: bool = True,
        deform_groups: int = 8,
        offset_feat_scale: float = 2.0,
        norm_cfg: dict | None = None,
        conv_on_p5: bool = False,
        extra_levels: str = "pool",
        start_level: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice("FaPN", "extra_levels", extra_levels, EXTRA_LEVELS)
        check_choice("FaPN", "start_level", start_level, range(len(in_channels)))
        widths = list(in_channels[start_level:])
        check_num_outs("FaPN", num_outs, len(widths))
        if use_fam and out_channels % deform_groups:
            raise ValueError(f"FaPN: out_channels is {out_channels}; it must be a multiple of deform_groups, {deform_groups}")
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.extra_levels = extra_levels
        self.start_level = start_level
        norm_cfg = with_groups(norm_cfg, out_channels)
        lateral_conv = FeatureSelection if use_fsm else partial(nn.Conv2d, kernel_size=1)
        output_conv = partial(ConvModule, out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None)

        self.lateral_convs = nn.ModuleList(lateral_conv(width, out_channels) for width in widths[:-1])
        self.top_lateral_conv = ConvModule(widths[-1], out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.alignments = nn.ModuleList(
            FeatureAlignment(out_channels, deform_groups, offset_feat_scale, norm_cfg) if use_fam else KeptFeatures()
            for _ in widths[:-1]
        )
        self.output_convs = nn.ModuleList(output_conv() for _ in range(len(widths) - 1 + conv_on_p5))
        if extra_levels != "pool":
            first = widths[-1] if extra_levels == "conv_c5" else out_channels
            sources = [first] + [out_channels] * (num_outs - len(widths))
            extra_conv = partial(nn.Conv2d, out_channels=out_channels, kernel_size=3, stride=2, padding=1)
            self.extra_convs = nn.ModuleList(extra_conv(width) for width in sources[: num_outs - len(widths)])
        self._initialise()

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says, or as the original does."""
        super().init_weights()
        if self.init_cfg is None:
            self._initialise()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first."""
        inputs = inputs[self.start_level :]
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs[:-1], strict=True)]
        merged = top_down([*laterals, self.top_lateral_conv(inputs[-1])], self.alignments, _merge)
        outputs = [conv(level) for conv, level in zip(self.output_convs, merged, strict=False)]
        outputs += merged[len(outputs) :]
        if self.extra_levels == "pool":
            return append_pooled_levels(outputs, self.num_outs)
        return (*outputs, *self._convolved_levels(inputs[-1] if self.extra_levels == "conv_c5" else outputs[-1]))

    def _convolved_levels(self, source: Tensor) -> list[Tensor]:
        levels: list[Tensor] = []
        for conv in self.extra_convs:
            levels.append(conv(F.relu(levels[-1]) if levels else source))
        return levels

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters() if name.startswith("top_lateral_conv") else caffe2_xavier_init(module)
            elif isinstance(module, ModulatedDeformConv2d):
                module.init_weights()
        for alignment in self.alignments:
            if isinstance(alignment, FeatureAlignment):
                constant_init(alignment.sampling_conv, 0)


def _merge(alignment: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return alignment(upsample_like(upper, lateral, mode="bilinear"), lateral) + lateral


@MODELS.register_module()
class FaPNDecoder(BaseModule):
    """FaPN's pyramid inside of MaskFormer, which is another than its neck: alignment without selection, shared normalisations.

    Of each level one normalisation stands after the convolution of the offset features and after that of the output, as in the
    published MaskFormer variant.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of `deform_groups`.
    num_outs : int
        Number of outputs, that of the inputs.
    deform_groups : int
        Groups of channels that the alignment moves together.
    offset_feat_scale : float
        Factor of the upper map where offsets are predicted, and only there.
    norm_cfg : dict, optional
        Normalisation, GN by default, of 32 groups or as many of them as divide the width.
    init_cfg : dict, optional
        mmengine's initialisation; by default Caffe2's Xavier and a zero offset branch.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        deform_groups: int = 8,
        offset_feat_scale: float = 2.0,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice("FaPNDecoder", "num_outs", num_outs, (len(in_channels),))
        norm = with_groups(norm_cfg or {"type": "GN"}, out_channels)
        options = {"norm_cfg": norm, "bias": False}
        below = list(in_channels[:-1])
        self.top_conv = ConvModule(in_channels[-1], out_channels, 3, padding=1, **options)
        self.lateral_convs = nn.ModuleList(ConvModule(width, out_channels, 1, act_cfg=None, **options) for width in below)
        self.alignments = nn.ModuleList(FeatureAlignment(out_channels, deform_groups, offset_feat_scale, norm) for _ in below)
        self.output_convs = nn.ModuleList(ConvModule(out_channels, out_channels, 3, padding=1, **options) for _ in below)
        for conv, alignment in zip(self.output_convs, self.alignments, strict=True):
            setattr(conv, conv.norm_name, alignment.offset_feature_conv.norm)
        self._initialise()

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says, or as the original does."""
        super().init_weights()
        if self.init_cfg is None:
            self._initialise()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to as many (N, C_out, H_i, W_i), finest first."""
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs[:-1], strict=True)]
        steps = [nn.ModuleList(pair) for pair in zip(self.alignments, self.output_convs, strict=True)]
        return tuple(top_down([*laterals, self.top_conv(inputs[-1])], steps, _merge_and_convolve))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                caffe2_xavier_init(module)
            elif isinstance(module, ModulatedDeformConv2d):
                module.init_weights()
        for alignment in self.alignments:
            constant_init(alignment.sampling_conv, 0)


def _merge_and_convolve(step: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    alignment, conv = step
    return conv(_merge(alignment, upper, lateral))
