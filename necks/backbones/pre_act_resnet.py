"""The networks of AFF's ablations: pre-activation ResNets of three stages, whose shortcuts may be fused by attention."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.attentional_fusion import build_fusion
from necks.layers.options import check_choice

STAGES = 3
STEMS = ("small_images", "large_images")


@MODELS.register_module()
class PreActResNet(BaseModule):
    """ResNet-20-b, and with fusion AFF-ResNet of the ablations on small images (AFF, arXiv 2009.14082, Tables 1 and 3 to 6).

    Three stages of `blocks` basic blocks each (identity mappings, arXiv 1603.05027), of one, two and four times
    `base_channels`, the second and third with half of the size. ResNet-20 has 3 blocks, ResNet-32 has 5. Each output has a
    normalisation and a ReLU of its own, which the blocks of such a network leave to what follows. As in AFF's published code
    the images are first normalised over the batch, without weights, and a projected shortcut starts from a block's input as
    it came, not from its activation.

    Parameters
    ----------
    blocks : int
        Blocks of a stage, b.
    base_channels : int
        Channels of stem and first stage.
    fusion : str
        Fusion of a block's branch (x) and shortcut (y), see `necks.layers.attentional_fusion.build_fusion`.
    reduction : int
        By how much the attention's hidden layer is narrower than the stage.
    context : str
        Inputs of the attention's branches, see `necks.layers.attentional_fusion.MultiScaleAttention`.
    stem : {'small_images', 'large_images'}
        A 3x3 convolution, so that the first stage has the size of the image; or one of stride 2 and a max-pooling, so that it
        has a quarter of it.
    out_indices : sequence of int
        Stages that are given out, counted from 0.
    norm_cfg : dict, optional
        Normalisation, BN by default.
    global_norm_cfg : dict, optional
        Another normalisation for the attention's global branch, which sees one value per image and channel.
    init_cfg : dict, optional
        mmengine's initialisation; Kaiming, normal, fan-out by default.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """

    def __init__(
        self,
        blocks: int = 3,
        base_channels: int = 64,
        fusion: str = "add",
        reduction: int = 4,
        context: str = "global+local",
        stem: str = "small_images",
        out_indices: Sequence[int] = (0, 1, 2),
        norm_cfg: dict | None = None,
        global_norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {"type": "Kaiming", "layer": "Conv2d", "mode": "fan_out", "distribution": "normal"})
        check_choice("PreActResNet", "stem", stem, STEMS)
        if blocks < 1:
            raise ValueError(f"PreActResNet: blocks is {blocks}; allowed: 1 and more")
        for index in out_indices:
            check_choice("PreActResNet", "out_indices", index, range(STAGES))
        norm_cfg = norm_cfg or {"type": "BN"}
        self.out_indices = tuple(out_indices)
        self.in_norm = nn.BatchNorm2d(3, affine=False)
        self.stem = _large_stem(base_channels, norm_cfg) if stem == "large_images" else _conv(3, base_channels, 3)
        self.stages, self.out_norms = nn.ModuleList(), nn.ModuleDict()
        width = base_channels
        for index in range(max(self.out_indices) + 1):
            channels = base_channels * 2**index
            strides = [1 if index == 0 else 2] + [1] * (blocks - 1)
            stage = nn.Sequential()
            for stride in strides:
                merge = build_fusion(fusion, channels, reduction, context, norm_cfg=norm_cfg, global_norm_cfg=global_norm_cfg)
                stage.append(PreActBlock(width, channels, stride, merge, norm_cfg))
                width = channels
            self.stages.append(stage)
            if index in self.out_indices:
                self.out_norms[str(index)] = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to the levels of `out_indices` (N, C_i, H_i, W_i), finest first."""
        features, levels = self.stem(self.in_norm(images)), []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in self.out_indices:
                levels.append(F.relu(self.out_norms[str(index)](features)))
        return tuple(levels)


class PreActBlock(nn.Module):
    """A basic block whose normalisations stand before its convolutions; nothing follows its fusion.

    Parameters
    ----------
    in_channels, channels : int
        Widths of its input and of its result.
    stride : int
        Of its first convolution. The shortcut is averaged over as much, and projected where the width changes.
    fusion : nn.Module
        Of branch and shortcut.
    norm_cfg : dict
        Normalisation.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, fusion: nn.Module, norm_cfg: dict) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.norm2 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = _conv(channels, channels, 3)
        self.shortcut: nn.Module | None = None
        if in_channels != channels:
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(pool, _conv(in_channels, channels, 1))
        self.fusion = fusion

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C, H / stride, W / stride), sizes rounded up."""
        branch = self.conv1(F.relu(self.norm1(features)))
        branch = self.conv2(F.relu(self.norm2(branch)))
        return self.fusion(branch, features if self.shortcut is None else self.shortcut(features))


def _conv(in_channels: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


def _large_stem(channels: int, norm_cfg: dict) -> nn.Sequential:
    norm = build_norm_layer(norm_cfg, channels)[1]
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(_conv(3, channels, 3, 2), norm, nn.ReLU(inplace=True), pool)
