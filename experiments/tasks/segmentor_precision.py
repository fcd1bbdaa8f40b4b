"""The parts of mmsegmentation's segmentors that stay in float32 under autocast."""

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import nn


def cast_heads_to_float32(model: nn.Module) -> None:
    """Convert bfloat16 to float32 after decode heads.

    Parameters
    ----------
    model : nn.Module
        An mmseg segmentor.
    """
    for module in model.modules():
        if isinstance(module, BaseDecodeHead):
            module.register_forward_hook(lambda _, __, logits: logits.float() if logits.dtype == torch.bfloat16 else logits)
