"""The pixel decoders of MaskFormer and Mask2Former with any neck in the place of their pyramid."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.layers import MSDeformAttnPixelDecoder, PixelDecoder
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.model import caffe2_xavier_init
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class NeckPixelDecoder(PixelDecoder):
    """MaskFormer's pixel decoder (arXiv 2107.06278) whose pyramid is a neck.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    feat_channels, out_channels : int
        Channels of the neck's levels, and of the masks' features.
    neck : dict
        Config of a neck that takes these levels.
    """

    def __init__(
        self, in_channels: Sequence[int], feat_channels: int, out_channels: int, neck: dict[str, Any], **_: Any
    ) -> None:
        # Without pyramid: of no level but the highest, whose convolution is the neck's too.
        super().__init__(in_channels[-1:], feat_channels, out_channels, norm_cfg=None)
        self.last_feat_conv = nn.Identity()
        self.neck = MMDET_MODELS.build(neck)
        # mmdetection's head projects the backbone's highest level for its own pixel decoder, and for no other.
        self.memory_projection = nn.Conv2d(in_channels[-1], feat_channels, 1)

    def init_weights(self) -> None:
        """Initialise as mmdetection does, and the neck as it says."""
        caffe2_xavier_init(self.mask_feature)
        caffe2_xavier_init(self.memory_projection)
        self.neck.init_weights()

    def forward(self, feats: Sequence[Tensor], batch_img_metas: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Features of the masks (N, C, H, W) from the finest level, and what the transformer reads, from the highest."""
        return self.mask_feature(self.neck(tuple(feats))[0]), self.memory_projection(feats[-1])


@MODELS.register_module()
class NeckMSDeformAttnPixelDecoder(MSDeformAttnPixelDecoder):
    """Mask2Former's pixel decoder (arXiv 2112.01527) whose pyramid is a neck.

    The encoder's levels and, raw, the levels below them go through the neck. Its finest output becomes the masks' features; the
    transformer reads the others, coarsest first.

    Parameters
    ----------
    in_channels, strides : sequence of int
        Channels and strides of the backbone's levels, finest first.
    neck : dict
        Config of a neck that takes as many levels, those of the encoder with `feat_channels`.
    options
        As for `MSDeformAttnPixelDecoder`.
    """

    def __init__(
        self, in_channels: Sequence[int], neck: dict[str, Any], strides: Sequence[int] = (4, 8, 16, 32), **options: Any
    ) -> None:
        encoded = options["encoder"]["layer_cfg"]["self_attn_cfg"]["num_levels"]
        self.below = len(in_channels) - encoded
        # Given the encoder's levels alone, mmdetection's decoder ends after its encoder.
        super().__init__(in_channels=in_channels[self.below :], strides=strides[self.below :], **options)
        self.mask_projection = nn.Conv2d(options["feat_channels"], options["out_channels"], 1)
        self.mask_feature: nn.Module = nn.Identity()
        self.neck = MMDET_MODELS.build(neck)

    def init_weights(self) -> None:
        """Initialise as mmdetection does, and the neck as it says."""
        super().init_weights()
        caffe2_xavier_init(self.mask_projection)
        self.neck.init_weights()

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features of the masks (N, C, H, W), and the levels that the transformer reads, coarsest first."""
        _, encoded = super().forward(feats[self.below :])
        outputs = self.neck((*feats[: self.below], *encoded[::-1]))
        return self.mask_projection(outputs[0]), list(outputs[: -self.num_outs - 1 : -1])
