"""The pyramids inside of UperNet, MaskFormer and Mask2Former as necks: others can stand in their place."""

from collections.abc import Sequence
from typing import Literal

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, caffe2_xavier_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.group_norm import with_groups
from necks.layers.levels import top_down, upsample_like
from necks.layers.options import check_choice


@MODELS.register_module()
class UPerFPN(BaseModule):
    """UperNet's pyramid (arXiv 1807.10221): laterals are summed from the top, and all but the highest level convolved.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the levels, finest first; the highest, of the pooling module, has `out_channels` already.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs, that of the inputs.
    norm_cfg : dict or False, optional
        Normalisation of every convolution, SyncBN by default; False for none.
    act_cfg : dict, optional
        Activation of every convolution, ReLU by default.
    init_cfg : dict, optional
        mmengine's initialisation.

    Raises
    ------
    ValueError
        If the widths or the number of outputs do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        norm_cfg: dict | Literal[False] | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice("UPerFPN", "num_outs", num_outs, (len(in_channels),))
        check_choice("UPerFPN", "in_channels[-1]", in_channels[-1], (out_channels,))
        norm = {"type": "SyncBN", "requires_grad": True} if norm_cfg is None else norm_cfg or None
        options = {"norm_cfg": norm, "act_cfg": act_cfg or {"type": "ReLU"}, "inplace": False}
        self.lateral_convs = nn.ModuleList(ConvModule(width, out_channels, 1, **options) for width in in_channels[:-1])
        self.fpn_convs = nn.ModuleList(
            ConvModule(out_channels, out_channels, 3, padding=1, **options) for _ in in_channels[:-1]
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map levels (N, C_i, H_i, W_i) to as many (N, C_out, H_i, W_i), finest first."""
        laterals = [conv(level) for conv, level in zip(self.lateral_convs, inputs[:-1], strict=True)]
        summed = top_down([*laterals, inputs[-1]], self.fpn_convs, _add)
        return (*(conv(level) for conv, level in zip(self.fpn_convs, summed[:-1], strict=True)), summed[-1])


def _add(_: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return lateral + upsample_like(upper, lateral, mode="bilinear")


@MODELS.register_module()
class SequentialFPN(BaseModule):
    """The pyramid of MaskFormer (arXiv 2107.06278) and Mask2Former (arXiv 2112.01527), convolved level by level from the top.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the levels, finest first.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs, that of the inputs.
    encoded : int
        How many of the highest levels come from an encoder with `out_channels`, and stay as they are: three in Mask2Former.
        With none the highest level is convolved, as in MaskFormer.
    mode : {'nearest', 'bilinear'}
        How levels are enlarged: nearest in MaskFormer, bilinear in Mask2Former.
    norm_cfg : dict or False, optional
        Normalisation, GN by default, of 32 groups or as many of them as divide the width; False for none.
    init_cfg : dict, optional
        mmengine's initialisation; by default Caffe2's Xavier.

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
        encoded: int = 0,
        mode: str = "nearest",
        norm_cfg: dict | Literal[False] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice("SequentialFPN", "num_outs", num_outs, (len(in_channels),))
        check_choice("SequentialFPN", "encoded", encoded, range(len(in_channels)))
        check_choice("SequentialFPN", "mode", mode, ("nearest", "bilinear"))
        for width in in_channels[len(in_channels) - encoded :]:
            check_choice("SequentialFPN", "in_channels of encoded levels", width, (out_channels,))
        self.mode, self.encoded = mode, encoded
        norm = with_groups({"type": "GN"} if norm_cfg is None else norm_cfg or None, out_channels)
        options = {"norm_cfg": norm, "bias": norm is None}
        below = list(in_channels[: len(in_channels) - max(encoded, 1)])
        self.lateral_convs = nn.ModuleList(ConvModule(width, out_channels, 1, act_cfg=None, **options) for width in below)
        self.output_convs = nn.ModuleList(ConvModule(out_channels, out_channels, 3, padding=1, **options) for _ in below)
        if not encoded:
            self.top_conv = ConvModule(in_channels[-1], out_channels, 3, padding=1, **options)
        self._initialise()

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says, or by Caffe2's Xavier."""
        super().init_weights()
        if self.init_cfg is None:
            self._initialise()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map levels (N, C_i, H_i, W_i) to as many (N, C_out, H_i, W_i), finest first."""
        below, above = inputs[: len(self.lateral_convs)], inputs[len(self.lateral_convs) :]
        kept = list(above) if self.encoded else [self.top_conv(above[0])]
        laterals = [conv(level) for conv, level in zip(self.lateral_convs, below, strict=True)]
        return (*top_down([*laterals, kept[0]], self.output_convs, self._merge)[:-1], *kept)

    def _merge(self, conv: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
        return conv(lateral + upsample_like(upper, lateral, mode=self.mode))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                caffe2_xavier_init(module)
