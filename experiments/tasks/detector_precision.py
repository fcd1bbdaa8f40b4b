"""The parts of mmdetection's detectors that stay in float32 under autocast."""

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmdet.models.seg_heads.base_semantic_head import BaseSemanticHead
from torch import nn
from torch.utils._pytree import tree_map


def cast_heads_to_float32(model: nn.Module) -> None:
    """Convert bfloat16 to float32 before RoI extractors and after heads.

    Parameters
    ----------
    model : nn.Module
        An mmdet detector.
    """
    for module in model.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda _, arguments: tree_map(_to_float32, arguments))
        if isinstance(module, BaseDenseHead | BBoxHead | FCNMaskHead | BaseSemanticHead):
            module.register_forward_hook(lambda _, __, predictions: tree_map(_to_float32, predictions))


def _to_float32(value: object) -> object:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
