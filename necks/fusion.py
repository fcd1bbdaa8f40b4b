"""How two neighbouring levels of a pyramid become one: plain addition, content-aware reassembly, globally guided reassembly."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from kernels import reassemble

ACTIVATIONS = ("2sigmoid", "sigmoid")
KERNEL_SIZE = 5


def _resize(features: Tensor, like: Tensor) -> Tensor:
    """Nearest resize to the size of `like`; drops the surplus row or column of a level of odd size."""
    if features.shape[2:] == like.shape[2:]:
        return features
    return F.interpolate(features, size=like.shape[2:], mode="nearest")


def _max_pool(features: Tensor, like: Tensor) -> Tensor:
    """Halve by max-pooling, to exactly the size of `like`."""
    pooled = F.max_pool2d(features, 2, ceil_mode=True)
    return pooled if pooled.shape[2:] == like.shape[2:] else F.adaptive_max_pool2d(features, like.shape[2:])


class NearestAdd(nn.Module):
    """Top-down fusion of FPN: nearest upsampling and addition."""

    def forward(self, upper: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, H/2, W/2) into (N, C, H, W)."""
        return level + F.interpolate(upper, size=level.shape[2:], mode="nearest")


class StridedConvAdd(ConvModule):
    """Bottom-up fusion of PAFPN: 3x3 convolution of stride 2 and addition.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1, act_cfg=None)

    def forward(self, lower: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, 2H, 2W) into (N, C, H, W)."""
        return level + super().forward(lower)


class UpsamplingKernels(nn.Module):
    """Predict a softmax-normalised k x k kernel for each location of the map that is twice as large.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    channels : int
        Channels of the compressed map.
    hidden : bool
        Whether a 3x3 convolution and a ReLU stand between compression and prediction (GACARAFE) or not (CARAFE).
    """

    def __init__(self, in_channels: int, channels: int, hidden: bool) -> None:
        super().__init__()
        self.layers = _kernel_predictor(in_channels, channels, hidden, 4 * KERNEL_SIZE**2, stride=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, H, W) to kernels (N, k * k, 2H, 2W)."""
        return F.pixel_shuffle(self.layers(features), 2).softmax(dim=1)


class DownsamplingKernels(nn.Module):
    """Predict a softmax-normalised k x k kernel for each location of the map that is half as large.

    Parameters
    ----------
    in_channels, channels, hidden
        As in `UpsamplingKernels`.
    """

    def __init__(self, in_channels: int, channels: int, hidden: bool) -> None:
        super().__init__()
        self.layers = _kernel_predictor(in_channels, channels, hidden, KERNEL_SIZE**2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, H, W) to kernels (N, k * k, H/2, W/2), sizes rounded up."""
        return self.layers(features).softmax(dim=1)


def _kernel_predictor(in_channels: int, channels: int, hidden: bool, out_channels: int, stride: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 1)]
    if hidden:
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
    layers.append(nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1))
    return nn.Sequential(*layers)


class ChannelAttention(nn.Module):
    """Global channel attention: one weight per channel of two stacked maps, from their attention-pooled summary.

    Parameters
    ----------
    channels : int
        Channels of one of the two maps, c.
    activation : {'2sigmoid', 'sigmoid'}
        '2sigmoid' starts as the identity, 'sigmoid' as halving.
    """

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.mask = nn.Conv2d(2 * channels, 1, 1)
        self.squeeze = nn.Linear(2 * channels, channels // 2)
        self.norm = nn.LayerNorm(channels // 2)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Linear(channels // 2, 2 * channels)
        self.gain = 2 if activation == "2sigmoid" else 1

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map the stacked maps (N, 2C, H, W) to the weights of the first and of the second, (N, C, 1, 1) each."""
        weights = self.mask(features).flatten(2).softmax(dim=-1)
        summary = (features.flatten(2) @ weights.transpose(1, 2)).flatten(1)
        hidden = self.relu(self.norm(self.squeeze(summary)))
        scales = self.gain * self.excite(hidden).sigmoid()
        return tuple(scales[:, :, None, None].chunk(2, dim=1))


class CarafeAdd(nn.Module):
    """Top-down fusion by the original CARAFE (Wang et al., ICCV 2019): kernels from the upper map alone, plain addition.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = UpsamplingKernels(channels, channels // 4, hidden=False)

    def forward(self, upper: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, H/2, W/2) into (N, C, H, W)."""
        return level + _resize(reassemble(upper, self.kernels(upper), up=2), level)


class CapAdd(nn.Module):
    """Bottom-up fusion by CAP, the pooling twin of CARAFE: kernels from the lower map alone, plain addition.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = DownsamplingKernels(channels, channels // 4, hidden=False)

    def forward(self, lower: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, 2H, 2W) into (N, C, H, W)."""
        return level + _resize(reassemble(lower, self.kernels(lower), down=2), level)


class GlobalAttentionCarafe(nn.Module):
    """GACARAFE, top-down fusion of A²-FPN (arXiv 2105.03186, section 3.3): both maps predict kernels and channel weights.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    activation : {'2sigmoid', 'sigmoid'}
        Of the channel weights.
    """

    def __init__(self, channels: int, activation: str = "2sigmoid") -> None:
        super().__init__()
        self.kernels = UpsamplingKernels(2 * channels, channels // 4, hidden=True)
        self.attention = ChannelAttention(channels, activation)

    def forward(self, upper: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, H/2, W/2) into (N, C, H, W)."""
        both = torch.cat([upper, _max_pool(level, like=upper)], dim=1)
        upsampled = _resize(reassemble(upper, self.kernels(both), up=2), level)
        upper_scale, level_scale = self.attention(both)
        return upper_scale * upsampled + level_scale * level


class GlobalAttentionCap(nn.Module):
    """GACAP, bottom-up fusion of A²-FPN (arXiv 2105.03186, section 3.4): both maps predict kernels and channel weights.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    activation : {'2sigmoid', 'sigmoid'}
        Of the channel weights.
    """

    def __init__(self, channels: int, activation: str = "2sigmoid") -> None:
        super().__init__()
        self.kernels = DownsamplingKernels(2 * channels, channels // 4, hidden=True)
        self.attention = ChannelAttention(channels, activation)

    def forward(self, lower: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, 2H, 2W) into (N, C, H, W)."""
        enlarged = F.interpolate(level, size=lower.shape[2:], mode="bilinear", align_corners=False)
        both = torch.cat([lower, enlarged], dim=1)
        downsampled = _resize(reassemble(lower, self.kernels(both), down=2), level)
        lower_scale, level_scale = self.attention(both)
        return lower_scale * downsampled + level_scale * level
