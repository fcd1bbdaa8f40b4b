"""One FPN with the fusions of many papers: all but what makes two levels one is FPN's, so that fusions alone are compared."""

from collections.abc import Callable, Sequence

from mmengine.model import BaseModule, constant_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.attentional_fusion import build_fusion
from necks.layers.feature_alignment import FeatureAlignment
from necks.layers.fusion import CarafeAdd, GlobalAttentionCarafe
from necks.layers.levels import append_pooled_levels, top_down, upsample_like
from necks.layers.options import check_choice, check_num_outs
from necks.layers.weighted_fusion import ContextWeightedSum, FastNormalisedSum

# FaPN's.
DEFORM_GROUPS, OFFSET_FEAT_SCALE = 8, 2.0


@MODELS.register_module()
class FusionFPN(BaseModule):
    """FPN (arXiv 1612.03144) in which a lateral and the level above it are fused as another paper does.

    Laterals, output convolutions, levels above and initialisation are FPN's, whatever its paper has around a fusion.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of 8 for 'align' and of 4 for 'carafe' and 'gacarafe'.
    num_outs : int
        Number of outputs, at least the number of inputs; levels above them are subsampled from the highest output.
    fusion : str
        Of a lateral x and the level above y, enlarged to x:

        * 'add': x + y, FPN's.
        * 'concat': a 1x1 convolution of both.
        * 'fast_normalised': (a x + b y) / (a + b), BiFPN's.
        * 'context': weights at each location from both, A3-FPN's.
        * 'aff', 'iaff': attentional feature fusion, once and twice (arXiv 2009.14082).
        * 'align': x + y aligned to x by deformable convolution, enlarged bilinearly, FaPN's (arXiv 2108.07058).
        * 'carafe': x + y, enlarged by content-aware reassembly (arXiv 1905.02188).
        * 'gacarafe': the same with kernels and channel weights from both, A²-FPN's (arXiv 2105.03186).
    init_cfg : dict, optional
        mmengine's initialisation; FPN's by default, Xavier's, uniform. Alignments start without offsets.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, num_outs: int, fusion: str = "add", init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg or {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"})
        check_choice("FusionFPN", "fusion", fusion, tuple(FUSIONS))
        check_num_outs("FusionFPN", num_outs, len(in_channels))
        build, divisor = FUSIONS[fusion]
        if out_channels % divisor:
            raise ValueError(
                f"FusionFPN: out_channels is {out_channels}; with fusion {fusion!r} allowed: multiples of {divisor}"
            )
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.fusions = nn.ModuleList(build(out_channels) for _ in in_channels[:-1])
        self.output_convs = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels)

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says; alignments without offsets."""
        super().init_weights()
        for module in self.modules():
            if isinstance(module, FeatureAlignment):
                constant_init(module.sampling_conv, 0)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first."""
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        merged = top_down(laterals, self.fusions, _merge)
        outputs = [conv(level) for conv, level in zip(self.output_convs, merged, strict=True)]
        return append_pooled_levels(outputs, self.num_outs)


def _merge(fusion: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return fusion(upper, lateral)


class Enlarged(nn.Module):
    """A fusion of two maps of one size, after the upper one is enlarged to the lateral's.

    Parameters
    ----------
    fusion : nn.Module
        Takes the lateral and the enlarged map.
    mode : {'nearest', 'bilinear'}
        Interpolation.
    """

    def __init__(self, fusion: nn.Module, mode: str = "nearest") -> None:
        super().__init__()
        self.fusion = fusion
        self.mode = mode

    def forward(self, upper: Tensor, lateral: Tensor) -> Tensor:
        """Fuse (N, C, H/2, W/2) and (N, C, H, W) into (N, C, H, W)."""
        return self.fusion(lateral, upsample_like(upper, lateral, self.mode))


class AlignedSum(nn.Module):
    """The sum of a map and another that is aligned to it.

    Parameters
    ----------
    channels : int
        Channels of both maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alignment = FeatureAlignment(channels, DEFORM_GROUPS, OFFSET_FEAT_SCALE, None)

    def forward(self, lateral: Tensor, upper: Tensor) -> Tensor:
        """Fuse two maps (N, C, H, W)."""
        return lateral + self.alignment(upper, lateral)


# Name -> how one is built for a number of channels, and what that must be a multiple of.
FUSIONS: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "add": (lambda channels: Enlarged(build_fusion("add", channels)), 1),
    "concat": (lambda channels: Enlarged(build_fusion("concat", channels)), 1),
    "fast_normalised": (lambda _: Enlarged(FastNormalisedSum()), 1),
    "context": (lambda channels: Enlarged(ContextWeightedSum(channels)), 1),
    "aff": (lambda channels: Enlarged(build_fusion("aff", channels)), 1),
    "iaff": (lambda channels: Enlarged(build_fusion("iaff", channels)), 1),
    "align": (lambda channels: Enlarged(AlignedSum(channels), "bilinear"), DEFORM_GROUPS),
    "carafe": (CarafeAdd, 4),
    "gacarafe": (GlobalAttentionCarafe, 4),
}
