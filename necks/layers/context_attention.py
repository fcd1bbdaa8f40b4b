"""The node of A3-FPN: levels at one resolution are resampled by their common context, weighted, summed and reassembled."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import constant_init, xavier_init
from torch import Tensor, nn

from kernels import deformable_aggregate

KERNEL_SIZE = 3


@dataclass(frozen=True)
class Layers:
    """What all convolutions of a neck share: normalisation (False for none) and activation, in mmcv's terms."""

    norm_cfg: dict | bool
    act_cfg: dict

    def conv(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> nn.Sequential:
        """Convolution, normalisation, activation; torch's own initialisation, and a bias only without normalisation."""
        return nn.Sequential(
            OrderedDict(
                conv=self.plain_conv(in_channels, out_channels, kernel_size, stride, padding, groups),
                norm=self.norm(out_channels),
                activation=self.activation(),
            )
        )

    def plain_conv(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> nn.Conv2d:
        """The convolution alone."""
        bias = not self.norm_cfg
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)

    def norm(self, channels: int) -> nn.Module:
        """The normalisation alone."""
        return build_norm_layer(self.norm_cfg, channels)[1] if self.norm_cfg else nn.Identity()

    def activation(self) -> nn.Module:
        """The activation alone."""
        return build_activation_layer(self.act_cfg)


@dataclass(frozen=True)
class ResamplerOptions:
    """Options of `ContextResampler`.

    Attributes
    ----------
    offset_scale : float
        Factor of the regular 3x3 grid and of the learned offsets.
    dw_kernel_size : int or None
        Kernel size of the depthwise convolution of the context; None leaves it out.
    output_bias : bool
        Whether the projection of the result has a bias.
    norm : 'LN', dict or None
        Normalisation of the result: over channels, mmcv's, or none.
    center_feature_scale : bool
        Whether a gate per group mixes the result with what was sampled.
    remove_center : bool
        Whether the middle tap is left out.
    without_pointwise : bool
        Whether both projections are left out.
    """

    offset_scale: float
    dw_kernel_size: int | None
    output_bias: bool
    norm: str | dict | None
    center_feature_scale: bool
    remove_center: bool
    without_pointwise: bool


class LayerNorm2d(nn.LayerNorm):
    """Normalisation over the channels of each location of a map (N, C, H, W).

    Parameters
    ----------
    channels : int
        C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ContextResampler(nn.Module):
    """Deformable aggregation of a map at places and with weights that a context map decides (DCNv4, section 3.4).

    Without a gate at the center it gives exactly zero until training has moved its weights from zero.

    Parameters
    ----------
    channels : int
        Channels of both maps, a multiple of `groups`.
    groups : int
        Groups of channels that are sampled at the same places.
    options : ResamplerOptions
        Further options.
    """

    def __init__(self, channels: int, groups: int, options: ResamplerOptions) -> None:
        super().__init__()
        self.groups = groups
        self.options = options
        self.taps = KERNEL_SIZE**2 - options.remove_center
        size = options.dw_kernel_size
        # The original pads the number of outputs to a multiple of 8 for its CUDA kernel.
        sampling_channels = 8 * -(-3 * self.taps * groups // 8)
        self.value = nn.Identity() if options.without_pointwise else nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels) if size else nn.Identity()
        self.sampling = nn.Conv2d(channels, sampling_channels, 1)
        self.center_gate = nn.Conv2d(channels, groups, 1) if options.center_feature_scale else None
        self.output = nn.Identity() if options.without_pointwise else nn.Conv2d(channels, channels, 1, bias=options.output_bias)
        self.norm = _resampler_norm(options.norm, channels)
        self.initialise()

    def initialise(self) -> None:
        """No deformation and no weight at first; Xavier (uniform) for the projections."""
        constant_init(self.sampling, 0)
        if self.center_gate is not None:
            constant_init(self.center_gate, 0)
        for layer in (self.value, self.output):
            if isinstance(layer, nn.Conv2d):
                xavier_init(layer, distribution="uniform")

    def forward(self, context: Tensor, features: Tensor) -> Tensor:
        """Resample features (N, C, H, W) by a context of the same shape."""
        values = self.value(features)
        sampling = self.sampling(self.depthwise(context))[:, : 3 * self.taps * self.groups]
        sampling = sampling.unflatten(1, (self.groups, 3 * self.taps))
        offsets = sampling[:, :, : 2 * self.taps].unflatten(2, (self.taps, 2))
        modulation = sampling[:, :, 2 * self.taps :]
        if self.options.remove_center:
            offsets, modulation = _with_silent_center(offsets), _with_silent_center(modulation)
        result = deformable_aggregate(values, offsets, modulation, self.options.offset_scale)
        if self.center_gate is not None:
            gate = self.center_gate(result).sigmoid().repeat_interleave(features.shape[1] // self.groups, dim=1)
            result = torch.lerp(result, values, gate)
        return F.gelu(self.norm(self.output(result)))


def _resampler_norm(norm: str | dict | None, channels: int) -> nn.Module:
    if norm is None:
        return nn.Identity()
    return LayerNorm2d(channels) if norm == "LN" else build_norm_layer(norm, channels)[1]


def _with_silent_center(taps: Tensor) -> Tensor:
    """Insert a middle tap of zeros into dimension 2."""
    half = taps.shape[2] // 2
    return torch.cat([taps[:, :, :half], torch.zeros_like(taps[:, :, :1]), taps[:, :, half:]], dim=2)


class RepVGGBlock(nn.Module):
    """A 3x3 and a 1x1 convolution, each normalised, summed and activated; one 3x3 convolution after `fuse`.

    Parameters
    ----------
    channels : int
        Channels of the map and of the result.
    layers : Layers
        Normalisation and activation.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        self.conv3 = layers.plain_conv(channels, channels, 3, padding=1)
        self.norm3 = layers.norm(channels)
        self.conv1 = layers.plain_conv(channels, channels, 1)
        self.norm1 = layers.norm(channels)
        self.activation = layers.activation()
        self.fused_conv: nn.Conv2d | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Process (N, C, H, W)."""
        if self.fused_conv is not None:
            return self.activation(self.fused_conv(features))
        return self.activation(self.norm3(self.conv3(features)) + self.norm1(self.conv1(features)))

    @torch.no_grad()
    def fuse(self) -> None:
        """Replace both branches by the one convolution that they are in eval mode.

        Raises
        ------
        ValueError
            If the normalisation depends on its input, as GroupNorm does.
        """
        if self.fused_conv is not None:
            return
        weight3, bias3 = _folded(self.conv3, self.norm3)
        weight1, bias1 = _folded(self.conv1, self.norm1)
        channels = weight3.shape[0]
        fused = nn.Conv2d(channels, channels, 3, padding=1, device=weight3.device, dtype=weight3.dtype)
        fused.weight.copy_(weight3 + F.pad(weight1, (1, 1, 1, 1)))
        fused.bias.copy_(bias3 + bias1)
        fused.requires_grad_(self.conv3.weight.requires_grad)
        del self.conv3, self.norm3, self.conv1, self.norm1
        self.fused_conv = fused


def _folded(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its normalisation."""
    bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    if isinstance(norm, nn.Identity):
        return conv.weight, bias
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        raise ValueError(f"A3FPN: {type(norm).__name__} depends on its input; only batch normalisation can be fused")
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale[:, None, None, None], norm.bias + (bias - norm.running_mean) * scale


class WeightGenerator(nn.Module):
    """Logits of the operands' weights at each location, from their narrow copies (deep context reweights, section 3.5).

    Parameters
    ----------
    in_channels : int
        Channels of all narrow copies together.
    operands : int
        Number of logits.
    expansion : float
        Hidden width per operand.
    blocks : int
        Number of RepVGG blocks.
    layers : Layers
        Normalisation and activation.
    """

    def __init__(self, in_channels: int, operands: int, expansion: float, blocks: int, layers: Layers) -> None:
        super().__init__()
        hidden = int(operands * expansion)
        self.deep = nn.Sequential(layers.conv(in_channels, hidden, 1), *(RepVGGBlock(hidden, layers) for _ in range(blocks)))
        self.shallow = layers.conv(in_channels, hidden, 1)
        self.output = nn.Identity() if hidden == operands else nn.Conv2d(hidden, operands, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, operands, H, W) from (N, C, H, W)."""
        return self.output(self.deep(features) + self.shallow(features))


class MultiScaleContextAttention(nn.Module):
    """Fusion of operands at one resolution: resampled by their common context, weighted per location and summed (MCA).

    Parameters
    ----------
    channels : int
        Channels of every operand and of the result.
    operands : int
        Their number; the last one is the node's own level, which is not resampled.
    compressed_channels : int
        Channels of the narrow copies that decide the weights.
    groups : int
        Groups of the resamplers.
    resampler : ResamplerOptions or None
        None leaves context and resamplers out.
    expansion, blocks
        Options of the `WeightGenerator`.
    weights : {'sigmoid', 'softmax'}
        Activation of its logits.
    layers : Layers
        Normalisation and activation.
    """

    def __init__(
        self,
        channels: int,
        operands: int,
        compressed_channels: int,
        groups: int,
        resampler: ResamplerOptions | None,
        expansion: float,
        blocks: int,
        weights: str,
        layers: Layers,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.context_conv: nn.Module = nn.Identity()
        self.resamplers = nn.ModuleList()
        if resampler:
            self.context_conv = layers.conv(operands * channels, (operands - 1) * channels, 1)
            self.resamplers = nn.ModuleList(ContextResampler(channels, groups, resampler) for _ in range(operands - 1))
        self.compressions = nn.ModuleList(layers.conv(channels, compressed_channels, 1) for _ in range(operands))
        self.weight_generator = WeightGenerator(operands * compressed_channels, operands, expansion, blocks, layers)

    def forward(self, operands: Sequence[Tensor]) -> Tensor:
        """Fuse maps (N, C, H, W), the node's own last."""
        if self.resamplers:
            operands = [*self._resampled(operands), operands[-1]]
        compressed = [conv(operand) for conv, operand in zip(self.compressions, operands, strict=True)]
        logits = self.weight_generator(torch.cat(compressed, dim=1))
        weights = logits.sigmoid() if self.weights == "sigmoid" else logits.softmax(dim=1)
        return sum(operand * weight for operand, weight in zip(operands, weights.split(1, dim=1), strict=True))

    def _resampled(self, operands: Sequence[Tensor]) -> list[Tensor]:
        contexts = self.context_conv(torch.cat(list(operands), dim=1)).chunk(len(self.resamplers), dim=1)
        return [
            resampler(context, operand)
            for resampler, context, operand in zip(self.resamplers, contexts, operands[:-1], strict=True)
        ]


class IntraScaleContentAttention(nn.Module):
    """Reassembly of channels: informative values stay, the others are halved or so and shared with a mirror channel (ICA).

    Parameters
    ----------
    channels : int
        Channels of the map, a multiple of `groups`.
    groups : int
        Groups of the normalisation whose scales tell how informative a channel is.
    threshold : float
        Gate above which a value is informative. The gate has no gradient there.
    """

    def __init__(self, channels: int, groups: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.group_norm = nn.GroupNorm(groups, channels)
        self.norm = LayerNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Reassemble (N, C, H, W)."""
        scale = self.group_norm.weight
        share = (scale / scale.sum())[:, None, None]
        logits = self.group_norm(features) * share
        # At initialisation the gate lies within 0.005 of 0.5, which half precision cannot resolve.
        gate = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
        informative = gate > self.threshold
        gate = gate.to(features.dtype)
        kept = features * gate.masked_fill(informative, 1)
        shared = features * gate.masked_fill(informative, 0)
        return F.gelu(self.norm(kept + shared.flip(1)))
