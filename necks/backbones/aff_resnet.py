"""ResNet and ResNeXt whose shortcuts are fused by attention in the last stages: AFF-ResNet, iAFF-ResNet and their ResNeXt."""

import torch
from mmcv.cnn import build_norm_layer
from mmdet.models.backbones.resnet import Bottleneck, ResNet
from mmdet.models.backbones.resnext import Bottleneck as GroupedBottleneck
from mmdet.models.backbones.resnext import ResNeXt
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.attentional_fusion import build_fusion
from necks.layers.options import check_choice

STEMS = ("large_images", "small_images")


class _FusingBlock:
    """A bottleneck that fuses its branch with its shortcut by `fusion`."""

    fusion: nn.Module

    def forward(self, features: Tensor) -> Tensor:
        if self.with_cp and features.requires_grad:
            return torch.utils.checkpoint.checkpoint(self._compute, features, use_reentrant=False)
        return self._compute(features)

    def _compute(self, features: Tensor) -> Tensor:
        residual = self.relu(self.norm1(self.conv1(features)))
        residual = self.relu(self.norm2(self.conv2(residual)))
        residual = self.norm3(self.conv3(residual))
        shortcut = features if self.downsample is None else self.downsample(features)
        return self.relu(self.fusion(residual, shortcut))


class FusingBottleneck(_FusingBlock, Bottleneck):
    """ResNet's bottleneck with a fusion in the place of its sum."""


class GroupedFusingBottleneck(_FusingBlock, GroupedBottleneck):
    """ResNeXt's bottleneck with a fusion in the place of its sum."""


class _FusingStages:
    """Stages whose blocks fuse, from a given stage on; stem and shortcuts as in ResNet-D."""

    def __init__(
        self,
        fusion: str = "aff",
        reduction: int = 16,
        first_fusing_stage: int = 3,
        context: str = "global+local",
        global_norm_cfg: dict | None = None,
        **options: object,
    ) -> None:
        if options.get("plugins"):
            raise ValueError(f"{type(self).__name__}: plugins are not supported")
        self._fusion = {"fusion": fusion, "reduction": reduction, "context": context, "global_norm_cfg": global_norm_cfg}
        self._stages_without_fusion = first_fusing_stage - 1
        super().__init__(deep_stem=True, avg_down=True, **options)

    def make_res_layer(self, **options: object) -> nn.Module:
        if self.zero_init_residual:
            options["init_cfg"] = {"type": "Constant", "val": 0, "override": {"name": "norm3"}}
        fuses = len(self.res_layers) >= self._stages_without_fusion
        fusion = {**self._fusion, "norm_cfg": self.norm_cfg} if fuses else {"fusion": "add"}
        stage = super().make_res_layer(**options)
        for block in stage:
            block.fusion = build_fusion(channels=block.conv3.out_channels, **fusion)
        return stage


@MODELS.register_module()
class AFFResNet(_FusingStages, ResNet):
    """ResNet-D with attentional feature fusion in its last two stages (AFF-ResNet, arXiv 2009.14082).

    With ``depth=50``: AFF-ResNet-50, and with ``fusion='iaff'`` iAFF-ResNet-50. The norm of a block's last convolution starts
    at zero.

    Parameters
    ----------
    fusion : str
        Fusion of a block's branch (x) and shortcut (y), see `necks.layers.attentional_fusion.build_fusion`.
    reduction : int
        By how much the attention's hidden layer is narrower than the stage.
    first_fusing_stage : int
        Stages before this one, counted from 1, keep the sum.
    context : str
        Inputs of the attention's branches, see `necks.layers.attentional_fusion.MultiScaleAttention`.
    global_norm_cfg : dict, optional
        Another normalisation for the attention's global branch, which sees one value per image and channel.
    **options
        Options of mmdet's ResNet; `deep_stem` and `avg_down` are set.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """

    arch_settings = {50: (FusingBottleneck, (3, 4, 6, 3)), 101: (FusingBottleneck, (3, 4, 23, 3))}


@MODELS.register_module()
class AFFResNeXt(_FusingStages, ResNeXt):
    """ResNeXt with attentional feature fusion in its last two stages (AFF-ResNeXt, arXiv 2009.14082).

    With ``depth=50, groups=32, base_width=4``: AFF-ResNeXt-50-32x4d, and with ``fusion='iaff'`` the iterative form. The stem
    is twice as wide as ResNet's. With ``depth=38, first_fusing_stage=1, stem='small_images'``: AFF-ResNeXt-38-32x4d of the
    tables on CIFAR, whose three stages, of 4 blocks each (5 with depth 47), all fuse.

    Parameters
    ----------
    depth : {38, 47, 50, 101}
        Layers; 38 and 47 have three stages, the others four.
    stem : {'large_images', 'small_images'}
        Three convolutions and a max-pooling to a quarter of the size; or one convolution that keeps the size.
    stem_channels : int, optional
        Channels of the stem: 128 by default, 64 for small images.
    fusion, reduction, first_fusing_stage, context, global_norm_cfg
        Parameters of `AFFResNet`.
    **options
        Options of mmdet's ResNeXt; `deep_stem` and `avg_down` are set.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed.
    """

    arch_settings = {
        38: (GroupedFusingBottleneck, (4, 4, 4)),
        47: (GroupedFusingBottleneck, (5, 5, 5)),
        50: (GroupedFusingBottleneck, (3, 4, 6, 3)),
        101: (GroupedFusingBottleneck, (3, 4, 23, 3)),
    }

    def __init__(self, depth: int, stem: str = "large_images", stem_channels: int | None = None, **options: object) -> None:
        check_choice("AFFResNeXt", "depth", depth, tuple(self.arch_settings))
        check_choice("AFFResNeXt", "stem", stem, STEMS)
        self._stem = stem
        stages = len(self.arch_settings[depth][1])
        shape = {
            "num_stages": stages,
            "strides": (1, 2, 2, 2)[:stages],
            "dilations": (1,) * stages,
            "out_indices": tuple(range(stages)),
            "stem_channels": stem_channels or (64 if stem == "small_images" else 128),
        }
        super().__init__(depth=depth, **shape | options)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self._stem == "small_images":
            norm = build_norm_layer(self.norm_cfg, stem_channels)[1]
            conv = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
            self.stem = nn.Sequential(conv, norm, nn.ReLU(inplace=True))
            self.maxpool = nn.Identity()
