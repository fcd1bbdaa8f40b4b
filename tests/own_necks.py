"""Necks that a test adds to a project, and runs of necks that no file defines."""

from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting

NECK = """
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F


@MODELS.register_module()
class Mine(nn.Module):
    def __init__(self, in_channels, out_channels, num_outs, pools: int = 1, asks: bool = False):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.pools, self.asks = pools, asks

    def forward(self, inputs):
        levels = [conv(level) for conv, level in zip(self.convs, inputs)]
        if self.asks and float(levels[0].sum()) > 1e9:
            return None
        for _ in range(self.pools):
            levels.append(F.max_pool2d(levels[-1], 1, 2))
        return tuple(levels)
"""


def run_of(neck, detector="mask_rcnn", scale="demo"):
    """A run of a neck that no file of the project defines."""
    setting = Setting.model_construct(neck=neck, detector=detector, backbone="resnet50", schedule="1x")
    return Run(setting, load_scale(scale), seed=0)
