"""Content-aware reassembly: every output location is a weighted sum of the neighbourhood of its source location."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


def reassemble(features: Tensor, kernels: Tensor, up: int = 1, down: int = 1) -> Tensor:
    """Apply one predicted kernel per output location to the feature map.

    With kernel size k, output location (X, Y) is the sum over the k x k neighbourhood, zero padded, of source location
    (floor(X / up) * down, floor(Y / up) * down), weighted by the kernel at (X, Y). All channels share the kernel.

    Parameters
    ----------
    features : Tensor
        The map to read, (N, C, H, W).
    kernels : Tensor
        The weights, (N, k * k, H_out, W_out), k odd, in row-major order of the neighbourhood. They are used as they are:
        normalise them before, usually by a softmax over dimension 1.
        Upsampling needs H_out = up * H and W_out = up * W, downsampling H_out = ceil(H / down) and W_out = ceil(W / down).
    up : int
        Upsampling factor.
    down : int
        Downsampling factor. At most one of the two factors may exceed 1.

    Returns
    -------
    Tensor
        The reassembled map, (N, C, H_out, W_out), in the dtype of `features`. Half-precision input is accumulated in float32.

    Raises
    ------
    ValueError
        If the shapes, the factors or the kernel size do not fit together.

    Notes
    -----
    CARAFE (Wang et al., ICCV 2019), equation 2, is ``up=2``; the pooling twin CAP of A²-FPN (arXiv 2105.03186) is ``down=2``.
    The unfolded tensor (k * k times the features) is never built; differentiating twice is not supported.
    """
    _check_arguments(features, kernels, up, down)
    return torch.ops.feature_pyramids.reassemble(features, kernels, up, down)


def _check_arguments(features: Tensor, kernels: Tensor, up: int, down: int) -> None:
    if up < 1 or down < 1 or (up > 1 and down > 1):
        raise ValueError(f"reassemble: up and down must be at least 1 and not both above 1, got up={up}, down={down}")
    if features.dim() != 4 or kernels.dim() != 4:
        raise ValueError(f"reassemble: expected two 4-D tensors, got {tuple(features.shape)} and {tuple(kernels.shape)}")
    size = _kernel_size(kernels)
    if size * size != kernels.shape[1] or size % 2 == 0:
        raise ValueError(f"reassemble: dimension 1 of the kernels must be the square of an odd number, got {kernels.shape[1]}")
    height, width = features.shape[2:]
    wanted = (features.shape[0], *(-(-length * up // down) for length in (height, width)))
    got = (kernels.shape[0], *kernels.shape[2:])
    if got != wanted:
        raise ValueError(
            f"reassemble: features {tuple(features.shape)} with up={up}, down={down} need kernels of batch and size {wanted}, got {got}"
        )


def _kernel_size(kernels: Tensor) -> int:
    return round(kernels.shape[1] ** 0.5)


def _accumulation_dtype(features: Tensor) -> torch.dtype:
    return torch.float32 if features.dtype in (torch.float16, torch.bfloat16) else features.dtype


def _per_source(tensor: Tensor, up: int) -> Tensor:
    """View an output-sized map (N, C, H*up, W*up) as (N, C, H, up, W, up); without upsampling the two extra axes have length 1."""
    batch, channels, height, width = tensor.shape
    return tensor.view(batch, channels, height // up, up, width // up, up)


def _taps(padded: Tensor, size: int, down: int, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (tap, the source pixels that the tap reads) as views (N, C, height, 1, width, 1) of the zero-padded features."""
    for tap in range(size * size):
        top, left = divmod(tap, size)
        rows = slice(top, top + down * (height - 1) + 1, down)
        columns = slice(left, left + down * (width - 1) + 1, down)
        yield tap, padded[:, :, rows, None, columns, None]


def _prepare(features: Tensor, kernels: Tensor, up: int) -> tuple[Tensor, Tensor, int]:
    dtype = _accumulation_dtype(features)
    size = _kernel_size(kernels)
    padded = F.pad(features.to(dtype), [size // 2] * 4)
    return padded, _per_source(kernels.to(dtype).contiguous(), up), size


@torch.library.custom_op("feature_pyramids::reassemble", mutates_args=())
def _reassemble(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    padded, weights, size = _prepare(features, kernels, up)
    output = padded.new_zeros(features.shape[0], features.shape[1], *kernels.shape[2:])
    accumulator = _per_source(output, up)
    for tap, source in _taps(padded, size, down, weights.shape[2], weights.shape[4]):
        accumulator.addcmul_(source, weights[:, tap : tap + 1])
    return output.to(features.dtype)


@torch.library.custom_op("feature_pyramids::reassemble_backward", mutates_args=())
def _reassemble_backward(gradient: Tensor, features: Tensor, kernels: Tensor, up: int, down: int) -> tuple[Tensor, Tensor]:
    padded, weights, size = _prepare(features, kernels, up)
    gradient = _per_source(gradient.to(padded.dtype).contiguous(), up)
    padded_gradient = torch.zeros_like(padded)
    weights_gradient = torch.empty_like(weights)
    targets = _taps(padded_gradient, size, down, weights.shape[2], weights.shape[4])
    for (tap, source), (_, target) in zip(_taps(padded, size, down, weights.shape[2], weights.shape[4]), targets, strict=True):
        torch.sum(gradient * source, dim=1, out=weights_gradient[:, tap])
        target += (gradient * weights[:, tap : tap + 1]).sum(dim=(3, 5), keepdim=True)
    border = size // 2
    height, width = features.shape[2:]
    features_gradient = padded_gradient[:, :, border : border + height, border : border + width]
    return features_gradient.to(features.dtype).contiguous(), weights_gradient.view_as(kernels).to(kernels.dtype)


@_reassemble.register_fake
def _(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    return features.new_empty(features.shape[0], features.shape[1], *kernels.shape[2:])


@_reassemble_backward.register_fake
def _(gradient: Tensor, features: Tensor, kernels: Tensor, up: int, down: int) -> tuple[Tensor, Tensor]:
    return features.new_empty(features.shape), kernels.new_empty(kernels.shape)


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    features, kernels, ctx.up, ctx.down = inputs
    ctx.save_for_backward(features, kernels)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
    features, kernels = ctx.saved_tensors
    return *torch.ops.feature_pyramids.reassemble_backward(gradient, features, kernels, ctx.up, ctx.down), None, None


_reassemble.register_autograd(_backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.feature_pyramids.reassemble)
def _count_flops(features_shape: torch.Size, kernels_shape: torch.Size, *_, **__) -> int:
    """Two operations, a multiplication and an addition, per tap and output value."""
    batch, taps, height, width = kernels_shape
    return 2 * batch * features_shape[1] * taps * height * width


@register_flop_formula(torch.ops.feature_pyramids.reassemble_backward)
def _count_backward_flops(_gradient_shape: torch.Size, features_shape: torch.Size, kernels_shape: torch.Size, *_, **__) -> int:
    """The gradient of either argument costs as much as the forward pass."""
    return 2 * _count_flops(features_shape, kernels_shape)
