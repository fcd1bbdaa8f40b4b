"""bfloat16 where it is safe."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils._pytree import tree_map


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes under bfloat16 autocast, on CPU and GPU.

    bfloat16 has the range of float32, so that no loss needs to be scaled; mmengine's `AmpOptimWrapper` scales, and needs a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


@HOOKS.register_module()
class HeadPrecisionHook(Hook):
    """Under bfloat16 autocast, pool regions and hand over predictions in float32: mmcv's RoIAlign and NMS have no bfloat16."""

    def before_train(self, runner: Runner) -> None:
        """Prepare the model's heads."""
        cast_heads_to_float32(runner.model)


def cast_heads_to_float32(model: nn.Module) -> None:
    """Let region extractors read, and heads return, bfloat16 tensors as float32.

    Parameters
    ----------
    model : nn.Module
        An mmdet detector.
    """
    for module in model.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda _, arguments: tree_map(_to_float32, arguments))
        if isinstance(module, BaseDenseHead | BBoxHead | FCNMaskHead):
            module.register_forward_hook(lambda _, __, predictions: tree_map(_to_float32, predictions))


def _to_float32(value: object) -> object:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
