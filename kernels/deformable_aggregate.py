"""Deformable aggregation: every location sums bilinear samples of the map at learned offsets, with learned weights."""

import torch
from torch import Tensor
from torch.library import register_autograd, register_fake
from torch.utils.flop_counter import register_flop_formula

from kernels.backends import backend_for
from kernels.registration import empty, operator, refuse_second_derivatives, register_autocast


def deformable_aggregate(values: Tensor, offsets: Tensor, modulation: Tensor, offset_scale: float = 1.0) -> Tensor:
    """Sum, at each location and for each group of channels, bilinear samples of a deformed neighbourhood.

    With kernel size K, r = (K - 1) / 2 and tap (i, j), i counting columns and j rows, the channels of group g at location
    (x, y) become the sum over the taps of modulation times the map at
    (x + offset_scale * (i - r + dx), y + offset_scale * (j - r + dy)).

    Parameters
    ----------
    values : Tensor
        The map to sample, (N, C, H, W).
    offsets : Tensor
        Pairs (dx, dy), (N, groups, K * K, 2, H, W), K odd; the number of groups divides C. The taps go column by column:
        tap number K * i + j.
    modulation : Tensor
        The weight of each tap, (N, groups, K * K, H, W), used as it is.
    offset_scale : float
        Factor of the regular neighbourhood and of the learned offsets.

    Returns
    -------
    Tensor
        (N, C, H, W), in the dtype of `values`. Half-precision input is sampled and accumulated in float32.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    RuntimeError
        If the map has more than 2^31 locations, or FEATURE_PYRAMIDS_BACKEND names a backend that cannot compute here.

    Notes
    -----
    The arithmetic of DCNv4 (Xiong et al., CVPR 2024) with stride 1. Outside of the map it is zero; a sample whose x is not
    in (-1, W) or whose y is not in (-1, H) is zero and moves no offset. At whole coordinates, where bilinear interpolation
    has a kink, the gradient is the one towards larger coordinates, as far as rounding leaves them whole. Gradients reach
    values, offsets and modulation; second derivatives are not available. Under autocast the values take the autocast dtype,
    unless they are float64; offsets and modulation keep theirs.
    """
    _check_arguments(values, offsets, modulation)
    return torch.ops.feature_pyramids.deformable_aggregate(values, offsets, modulation, offset_scale)


def _check_arguments(values: Tensor, offsets: Tensor, modulation: Tensor) -> None:
    if values.dim() != 4 or offsets.dim() != 6 or modulation.dim() != 5:
        raise ValueError(
            "deformable_aggregate: expected values (N, C, H, W), offsets (N, groups, taps, 2, H, W) and modulation"
            f" (N, groups, taps, H, W), got {tuple(values.shape)}, {tuple(offsets.shape)} and {tuple(modulation.shape)}"
        )
    batch, channels, height, width = values.shape
    groups, taps = modulation.shape[1:3]
    if modulation.shape != (batch, groups, taps, height, width) or offsets.shape != (batch, groups, taps, 2, height, width):
        raise ValueError(
            f"deformable_aggregate: values {tuple(values.shape)} need offsets ({batch}, groups, taps, 2, {height}, {width}) and"
            f" modulation ({batch}, groups, taps, {height}, {width}), got {tuple(offsets.shape)} and {tuple(modulation.shape)}"
        )
    if groups < 1 or channels % groups:
        raise ValueError(f"deformable_aggregate: the number of groups must divide the {channels} channels, got {groups}")
    size = round(taps**0.5)
    if size * size != taps or size % 2 == 0:
        raise ValueError(f"deformable_aggregate: the number of taps must be the square of an odd number, got {taps}")
    if not all(tensor.is_floating_point() for tensor in (values, offsets, modulation)):
        raise ValueError(
            f"deformable_aggregate: expected floating-point tensors, got {values.dtype}, {offsets.dtype} and {modulation.dtype}"
        )
    if not values.device == offsets.device == modulation.device:
        raise ValueError(
            f"deformable_aggregate: values are on {values.device}, offsets on {offsets.device},"
            f" modulation on {modulation.device}"
        )


@operator("deformable_aggregate")
def _deformable_aggregate(values: Tensor, offsets: Tensor, modulation: Tensor, offset_scale: float) -> Tensor:
    output = empty(values, values.shape)
    if not output.numel():
        return output
    backend_for(values).deformable_aggregate(values, offsets, modulation, output, offset_scale)
    return output


@operator("deformable_aggregate_backward")
def _deformable_aggregate_backward(
    gradient: Tensor, values: Tensor, offsets: Tensor, modulation: Tensor, offset_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = _empty_gradients(values, offsets, modulation)
    if not values.numel():
        return tuple(tensor.zero_() for tensor in gradients)
    backend_for(values).deformable_aggregate_backward(gradient, values, offsets, modulation, gradients, offset_scale)
    return gradients


@register_fake(_deformable_aggregate)
def _(values: Tensor, offsets: Tensor, modulation: Tensor, offset_scale: float) -> Tensor:
    return empty(values, values.shape)


@register_fake(_deformable_aggregate_backward)
def _(
    gradient: Tensor, values: Tensor, offsets: Tensor, modulation: Tensor, offset_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_gradients(values, offsets, modulation)


def _empty_gradients(values: Tensor, offsets: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return empty(values, values.shape), torch.empty_like(offsets), torch.empty_like(modulation)


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.offset_scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return *_deformable_aggregate_backward(gradient, *ctx.saved_tensors, ctx.offset_scale), None


register_autograd(_deformable_aggregate, _backward, setup_context=_save)
refuse_second_derivatives(_deformable_aggregate_backward)
register_autocast(_deformable_aggregate)


@register_flop_formula(torch.ops.feature_pyramids.deformable_aggregate)
def _count_flops(
    values_shape: torch.Size, offsets_shape: torch.Size, modulation_shape: torch.Size, offset_scale: float, **_
) -> int:
    """Two operations, a multiplication and an addition, per tap, corner of the bilinear sample and output value."""
    batch, channels, height, width = values_shape
    return 2 * 4 * modulation_shape[2] * batch * channels * height * width


@register_flop_formula(torch.ops.feature_pyramids.deformable_aggregate_backward)
def _count_backward_flops(
    gradient_shape: torch.Size,
    values_shape: torch.Size,
    offsets_shape: torch.Size,
    modulation_shape: torch.Size,
    offset_scale: float,
    **_,
) -> int:
    """Twice the forward pass: once for the values, once for the corners' shares in the gradient of coordinates and weights."""
    return 2 * _count_flops(values_shape, offsets_shape, modulation_shape, offset_scale)
