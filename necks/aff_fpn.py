"""AFF-FPN and iAFF-FPN: FPN whose sums are soft choices by attentional feature fusion, and the paper's other fusions."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.attentional_fusion import build_fusion
from necks.layers.levels import append_pooled_levels, top_down, upsample_like
from necks.layers.options import check_num_outs


@MODELS.register_module()
class AFFFPN(BaseModule):
    """FPN with attentional feature fusion in the place of its sums (AFF, WACV 2021, arXiv 2009.14082, Figure 3).

    The paper's experiment with FPN was never published as code: nearest interpolation, no normalisation outside of the
    attention and Kaiming initialisation are decisions.

    The global branch of the attention normalises one value per image and channel. Batch normalisation therefore fails with
    one image per process, and with two it keeps little more than the sign; GroupNorm of few channels collapses alike. So
    the default is SyncBN, over the images of all processes; without distributed training mmengine makes it a BN over the
    images of a step. For small batches give ``global_norm_cfg={'type': 'GN', 'num_groups': 1}``, a LayerNorm over channels.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs, at least the number of inputs; levels above them are subsampled from the highest output.
    fusion : {'aff', 'iaff', 'add', 'concat', 'ms_gau', 'ms_se', 'ms_sa'}
        Fusion of a lateral (x) and the upsampled level above it (y), see `necks.layers.attentional_fusion.build_fusion`.
    reduction : int
        By how much the attention's hidden layer is narrower than the map.
    context : {'global+local', 'global+global', 'local+local'}
        Inputs of the two branches of the attention.
    scale : {1, 2}
        Factor of 'aff': 2 keeps the scale of a sum, as in the published code; the paper's equation 4 has none.
    norm_cfg : dict, optional
        Normalisation in the attention, SyncBN by default.
    global_norm_cfg : dict, optional
        Another normalisation for branches that see the mean of the map.
    share_second_global : bool
        Let the second step of 'iaff' use the first step's global branch, the mistake of a widely used port.
    init_cfg : dict, optional
        mmengine's initialisation; Kaiming, normal, fan-out by default.

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
        fusion: str = "aff",
        reduction: int = 4,
        context: str = "global+local",
        scale: float = 2,
        norm_cfg: dict | None = None,
        global_norm_cfg: dict | None = None,
        share_second_global: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {"type": "Kaiming", "layer": "Conv2d", "mode": "fan_out", "distribution": "normal"})
        check_num_outs("AFFFPN", num_outs, len(in_channels))
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.fusions = nn.ModuleList(
            build_fusion(fusion, out_channels, reduction, context, scale, norm_cfg, global_norm_cfg, share_second_global)
            for _ in in_channels[:-1]
        )
        self.output_convs = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first."""
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        merged = top_down(laterals, self.fusions, _merge)
        outputs = [conv(level) for conv, level in zip(self.output_convs, merged, strict=True)]
        return append_pooled_levels(outputs, self.num_outs)


def _merge(fusion: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
    return fusion(lateral, upsample_like(upper, lateral))
