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


def _enlarge(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the size of `like`."""
    return F.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)


def _enlarge_adjoint(weights: Tensor, like: Tensor) -> Tensor:
    """Bring weights of an enlarged map's locations, (N, 1, 2H, 2W), to the map itself: `_enlarge` transposed.

    Row and column by row and column, because torch's own adjoint adds atomically on CUDA devices.
    """
    sizes = zip(like.shape[2:], weights.shape[2:], strict=True)
    by_row, by_column = (_enlarging_matrix(small, large, weights) for small, large in sizes)
    return by_row @ weights @ by_column.T


def _enlarging_matrix(small: int, large: int, like: Tensor) -> Tensor:
    """How much each of `small` places gives to each of `large` ones in linear interpolation, (small, large)."""
    identity = torch.eye(small, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    return F.interpolate(identity[None], size=large, mode="linear", align_corners=False)[0].to(like.dtype)


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
        return self.from_compressed(self.layers[0](features))

    def from_compressed(self, compressed: Tensor) -> Tensor:
        """Map what the first layer gives, (N, C, H, W), to kernels (N, k * k, 2H, 2W)."""
        return F.pixel_shuffle(_after_first(self.layers, compressed), 2).softmax(dim=1)


class DownsamplingKernels(nn.Module):
    """Predict a softmax-normalised k x k kernel for each location of the map that is half as large.

    Parameters
    ----------
    in_channels, channels, hidden
        Parameters of `UpsamplingKernels`.
    """

    def __init__(self, in_channels: int, channels: int, hidden: bool) -> None:
        super().__init__()
        self.layers = _kernel_predictor(in_channels, channels, hidden, KERNEL_SIZE**2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, H, W) to kernels (N, k * k, H/2, W/2), sizes rounded up."""
        return self.from_compressed(self.layers[0](features))

    def from_compressed(self, compressed: Tensor) -> Tensor:
        """Map what the first layer gives, (N, C, H, W), to kernels (N, k * k, H/2, W/2), sizes rounded up."""
        return _after_first(self.layers, compressed).softmax(dim=1)


def _after_first(layers: nn.Sequential, features: Tensor) -> Tensor:
    for layer in list(layers)[1:]:
        features = layer(features)
    return features


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

    def forward(self, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Map the stacked maps' summary (N, 2C) to the weights of the first and of the second, (N, C, 1, 1) each."""
        hidden = self.relu(self.norm(self.squeeze(summary)))
        scales = self.gain * self.excite(hidden).sigmoid()
        return tuple(scales[:, :, None, None].chunk(2, dim=1))


def _summarise(features: Tensor, weights: Tensor) -> Tensor:
    """Sum (N, C, H, W) over its locations with weights (N, 1, H, W), giving (N, C)."""
    return (features.flatten(2) @ weights.flatten(2).transpose(1, 2)).flatten(1)


def _weights_of_locations(logits: Tensor) -> Tensor:
    """Softmax over the locations of (N, 1, H, W)."""
    return logits.flatten(2).softmax(dim=-1).view_as(logits)


def _split_first_layers(kernels: nn.Module, attention: ChannelAttention) -> tuple[Tensor, Tensor, Tensor]:
    """Both 1x1 convolutions of two stacked maps as one, its weights for the first map and for the second, and its bias."""
    layers = [kernels.layers[0], attention.mask]
    first, second = torch.cat([layer.weight for layer in layers]).chunk(2, dim=1)
    return first, second, torch.cat([layer.bias for layer in layers])


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
    """GACARAFE, top-down fusion of A²-FPN (arXiv 2105.03186, section 3.2): both maps predict kernels and channel weights.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    activation : {'2sigmoid', 'sigmoid'}
        Activation of the channel weights.
    """

    def __init__(self, channels: int, activation: str = "2sigmoid") -> None:
        super().__init__()
        self.kernels = UpsamplingKernels(2 * channels, channels // 4, hidden=True)
        self.attention = ChannelAttention(channels, activation)

    def forward(self, upper: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, H/2, W/2) into (N, C, H, W).

        Both maps enter the first convolutions without being stacked, and the upper one is scaled before it is enlarged. In the
        paper's equation 13 the first vector of weights is the lateral map's, here the upper's: a matter of names.
        """
        pooled = _max_pool(level, like=upper)
        of_upper, of_level, bias = _split_first_layers(self.kernels, self.attention)
        hidden = F.conv2d(upper, of_upper, bias) + F.conv2d(pooled, of_level)
        weights = _weights_of_locations(hidden[:, -1:])
        summary = torch.cat([_summarise(upper, weights), _summarise(pooled, weights)], dim=1)
        upper_scale, level_scale = self.attention(summary)
        upsampled = reassemble(upper_scale * upper, self.kernels.from_compressed(hidden[:, :-1]), up=2)
        return torch.addcmul(_resize(upsampled, level), level_scale, level)

    def replaced_layers(self) -> list[nn.Module]:
        """The paper's 1x1 convolutions of the upper level that are computed in another form here."""
        return [self.kernels.layers[0], self.attention.mask]


class GlobalAttentionCap(nn.Module):
    """GACAP, bottom-up fusion of A²-FPN (arXiv 2105.03186, section 3.3): both maps predict kernels and channel weights.

    Parameters
    ----------
    channels : int
        Channels of the pyramid.
    activation : {'2sigmoid', 'sigmoid'}
        Activation of the channel weights.
    """

    def __init__(self, channels: int, activation: str = "2sigmoid") -> None:
        super().__init__()
        self.kernels = DownsamplingKernels(2 * channels, channels // 4, hidden=True)
        self.attention = ChannelAttention(channels, activation)

    def forward(self, lower: Tensor, level: Tensor) -> Tensor:
        """Fuse (N, C, 2H, 2W) into (N, C, H, W).

        Enlarging a map is linear, so that only what the first convolutions make of it is enlarged, and the weights of its
        locations are brought to its own size instead.
        """
        of_lower, of_level, bias = _split_first_layers(self.kernels, self.attention)
        hidden = F.conv2d(lower, of_lower, bias) + _enlarge(F.conv2d(level, of_level), like=lower)
        weights = _weights_of_locations(hidden[:, -1:])
        summary = torch.cat([_summarise(lower, weights), _summarise(level, _enlarge_adjoint(weights, like=level))], dim=1)
        lower_scale, level_scale = self.attention(summary)
        downsampled = reassemble(lower, self.kernels.from_compressed(hidden[:, :-1]), down=2)
        return torch.addcmul(lower_scale * _resize(downsampled, level), level_scale, level)

    def replaced_layers(self) -> list[nn.Module]:
        """The paper's 1x1 convolutions of the lower level that are computed in another form here."""
        return [self.kernels.layers[0], self.attention.mask]
