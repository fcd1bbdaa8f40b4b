"""UperNet's head (arXiv 1807.10221) with any neck in the place of its pyramid."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.decode_heads import UPerHead
from mmseg.registry import MODELS as MMSEG_MODELS
from torch import Tensor, nn


@MODELS.register_module()
class NeckUPerHead(UPerHead):
    """mmsegmentation's UPerHead whose laterals and pyramid are a neck.

    The pooling module and its bottleneck stay, and stand in the place of the highest level. The neck's levels are enlarged to
    the finest, concatenated and fused.

    Parameters
    ----------
    neck : dict
        Config of a neck that takes as many levels as the head, the highest of `channels`, and gives as many of `channels`.
    options
        As for `UPerHead`.
    """

    def __init__(self, neck: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        # What the neck replaces.
        self.lateral_convs, self.fpn_convs = nn.ModuleList(), nn.ModuleList()
        self.neck = MMSEG_MODELS.build(neck)

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        levels = self._transform_inputs(inputs)
        outputs = self.neck((*levels[:-1], self.psp_forward(levels)))
        size = outputs[0].shape[2:]
        resized = [F.interpolate(level, size=size, mode="bilinear", align_corners=self.align_corners) for level in outputs[1:]]
        fused: Tensor = self.fpn_bottleneck(torch.cat([outputs[0], *resized], dim=1))
        return fused
