"""The parts of mmsegmentation's segmentors that stay in float32 under autocast."""

from mmdet.models.dense_heads import MaskFormerHead
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import nn

from experiments.tasks.full_precision import compute_in_float32, return_in_float32


def cast_heads_to_float32(model: nn.Module) -> None:
    """Convert bfloat16 to float32 after decode heads, and compute deformable attention in float32.

    Parameters
    ----------
    model : nn.Module
        An mmseg segmentor.
    """
    for module in model.modules():
        if isinstance(module, MSDeformAttnPixelDecoder):
            compute_in_float32(module)
        if isinstance(module, BaseDecodeHead | MaskFormerHead):
            return_in_float32(module)
