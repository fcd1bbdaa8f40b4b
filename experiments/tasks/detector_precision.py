"""The parts of mmdetection's detectors that stay in float32 under autocast."""

from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead, MaskPointHead
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmdet.models.seg_heads.base_semantic_head import BaseSemanticHead
from torch import nn
from torch.utils._pytree import tree_map

from experiments.tasks.full_precision import compute_in_float32, return_in_float32, to_float32


def cast_heads_to_float32(model: nn.Module) -> None:
    """Convert bfloat16 to float32 before RoI extractors and after heads, and compute deformable attention in float32.

    Parameters
    ----------
    model : nn.Module
        An mmdet detector.
    """
    for module in model.modules():
        if isinstance(module, MSDeformAttnPixelDecoder):
            compute_in_float32(module)
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda _, arguments: tree_map(to_float32, arguments))
        if isinstance(module, BaseDenseHead | BBoxHead | FCNMaskHead | MaskPointHead | BaseSemanticHead):
            return_in_float32(module)
