"""Modulated deformable convolution (DCNv2): this project's operator on the CPU, mmcv's elsewhere."""

from functools import cache

import torch
from mmcv.utils import ext_loader
from torch import Tensor
from torch.library import register_autograd, register_fake
from torch.utils.flop_counter import register_flop_formula

from kernels.cpu import deform_columns, deform_columns_gradient, unavailable_reason
from kernels.registration import operator, refuse_second_derivatives

# Asked at every call; the answer looks at a file.
_reason_not_to = cache(unavailable_reason)
_mmcv = ext_loader.load_ext("_ext", ["modulated_deform_conv_forward", "modulated_deform_conv_backward"])


def modulated_deform_conv(
    features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int
) -> Tensor:
    """Convolve a map at deformed places: stride 1, as much padding as keeps the size.

    Parameters
    ----------
    features : Tensor
        (N, C, H, W).
    offsets : Tensor
        Pairs (dy, dx) of each group and tap, the taps row by row, (N, 2 * deform_groups * K * K, H, W).
    modulation : Tensor
        Weight of each group and tap, (N, deform_groups * K * K, H, W).
    weight : Tensor
        (C_out, C, K, K), K odd.
    bias : Tensor
        (C_out,).
    deform_groups : int
        Groups of channels that move together.

    Returns
    -------
    Tensor
        (N, C_out, H, W), contiguous, in the dtype of `features`. bfloat16, which mmcv's operator lacks, is computed in float32.

    Notes
    -----
    Zhu et al., Deformable ConvNets v2 (arXiv 1811.11168). Under autocast the dtype of `features` decides. On the CPU the
    samples are taken by `kernels.cpu` and the products are torch's; samples and their gradients repeat bit for bit for any
    number of threads.

    Where the C++ operators are not built, mmcv's operator computes on the CPU too, several times as slowly. Also in float64 it
    rounds a position to float32 to find its cell. A position that is less than the rounding below a whole number, 2e-6 pixels
    at 34, is taken for one of the next cell: the value deviates by as much, and the gradient of its offset is the slope beyond
    the whole number, where the slope changes. Elsewhere float64 is exact to 1e-15.
    """
    dtype = torch.float32 if features.dtype == torch.bfloat16 else features.dtype
    tensors = (tensor.to(dtype).contiguous() for tensor in (features, offsets, modulation, weight, bias))
    return torch.ops.feature_pyramids.modulated_deform_conv(*tensors, deform_groups).to(features.dtype)


@operator("modulated_deform_conv")
def _modulated_deform_conv(
    features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int
) -> Tensor:
    if _has_own_operator(features):
        return _convolve(features, offsets, modulation, weight, bias, deform_groups)
    output = features.new_empty(_output_shape(features, weight))
    ones, columns = features.new_empty(0), features.new_empty(0)
    _mmcv.modulated_deform_conv_forward(
        features, weight, bias, ones, offsets, modulation, output, columns, **_geometry(weight, deform_groups)
    )
    return output


@operator("modulated_deform_conv_backward")
def _modulated_deform_conv_backward(
    gradient: Tensor, features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if _has_own_operator(features):
        return _gradients(gradient, features, offsets, modulation, weight, deform_groups)
    gradients = tuple(torch.zeros_like(tensor) for tensor in (features, offsets, modulation, weight, bias))
    of_features, of_offsets, of_modulation, of_weight, of_bias = gradients
    ones, columns = features.new_empty(0), features.new_empty(0)
    _mmcv.modulated_deform_conv_backward(
        *(features, weight, bias, ones, offsets, modulation, columns),
        *(of_features, of_weight, of_bias, of_offsets, of_modulation, gradient.contiguous()),
        **_geometry(weight, deform_groups),
    )
    return gradients


def _has_own_operator(features: Tensor) -> bool:
    return features.device.type == "cpu" and not _reason_not_to(features.device.type)


def _columns(features: Tensor, offsets: Tensor, modulation: Tensor, deform_groups: int) -> tuple[Tensor, Tensor]:
    """Features with the channels last, (N, H, W, C), and their samples, (N, H * W, K * K, C)."""
    channels_last = features.permute(0, 2, 3, 1).contiguous()
    images, height, width, channels = channels_last.shape
    columns = features.new_empty(images, height * width, modulation.shape[1] // deform_groups, channels)
    deform_columns(channels_last, offsets, modulation, columns, deform_groups)
    return channels_last, columns


def _convolve(
    features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int
) -> Tensor:
    _, columns = _columns(features, offsets, modulation, deform_groups)
    rows = _rows(weight).expand(len(features), -1, -1)
    with torch.autocast("cpu", enabled=False):
        output = torch.baddbmm(bias[:, None], rows, columns.flatten(2).transpose(1, 2))
    return output.view(_output_shape(features, weight))


def _gradients(
    gradient: Tensor, features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, deform_groups: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    channels_last, columns = _columns(features, offsets, modulation, deform_groups)
    flat = gradient.flatten(2).transpose(1, 2).reshape(-1, len(weight))
    with torch.autocast("cpu", enabled=False):
        of_rows = flat.T @ columns.flatten(0, 1).flatten(1)
        of_columns = (flat @ _rows(weight)).view_as(columns)
    of_weight = of_rows.view(len(weight), *weight.shape[2:], weight.shape[1]).permute(0, 3, 1, 2).contiguous()
    of_features, of_offsets = torch.zeros_like(channels_last), torch.empty_like(offsets)
    of_modulation = torch.empty_like(modulation)
    deform_columns_gradient(
        of_columns, channels_last, offsets, modulation, (of_features, of_offsets, of_modulation), deform_groups
    )
    return of_features.permute(0, 3, 1, 2).contiguous(), of_offsets, of_modulation, of_weight, flat.sum(0)


def _rows(weight: Tensor) -> Tensor:
    """The weight with the channels of a tap side by side, (C_out, K * K * C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _geometry(weight: Tensor, deform_groups: int) -> dict[str, int | bool]:
    size = weight.shape[-1]
    per_axis = {"kernel": size, "stride": 1, "pad": size // 2, "dilation": 1}
    sizes = {f"{name}_{axis}": value for name, value in per_axis.items() for axis in "hw"}
    return {**sizes, "group": 1, "deformable_group": deform_groups, "with_bias": True}


def _output_shape(features: Tensor, weight: Tensor) -> tuple[int, ...]:
    return features.shape[0], weight.shape[0], *features.shape[2:]


@register_fake(_modulated_deform_conv)
def _(features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int) -> Tensor:
    return features.new_empty(_output_shape(features, weight))


@register_fake(_modulated_deform_conv_backward)
def _(
    gradient: Tensor, features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor, deform_groups: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tuple(torch.empty_like(tensor) for tensor in (features, offsets, modulation, weight, bias))


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.deform_groups = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return *_modulated_deform_conv_backward(gradient, *ctx.saved_tensors, ctx.deform_groups), None


register_autograd(_modulated_deform_conv, _backward, setup_context=_save)
refuse_second_derivatives(_modulated_deform_conv_backward)


@register_flop_formula(torch.ops.feature_pyramids.modulated_deform_conv)
def _count_flops(
    features_shape: torch.Size,
    offsets_shape: torch.Size,
    modulation_shape: torch.Size,
    weight_shape: torch.Size,
    bias_shape: torch.Size,
    deform_groups: int,
    **_,
) -> int:
    """Of the convolution, two per weight and location; of the bilinear samples, two per corner, tap and channel."""
    batch, channels, height, width = features_shape
    taps = modulation_shape[1] // deform_groups
    return 2 * batch * height * width * (weight_shape.numel() + 4 * taps * channels)
