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
    The unfolded tensor (k * k times the features) is never built: no intermediate is larger than the output or the padded
    features, in float32 at least. Differentiating twice is not supported.
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
            f"reassemble: features {tuple(features.shape)} with up={up}, down={down} need kernels of batch and size {wanted},"
            f" got {got}"
        )


def _kernel_size(kernels: Tensor) -> int:
    return round(kernels.shape[1] ** 0.5)


def _accumulation_dtype(features: Tensor) -> torch.dtype:
    return torch.float32 if features.dtype in (torch.float16, torch.bfloat16) else features.dtype


def _split_by_source(tensor: Tensor, up: int) -> Tensor:
    """View (N, C, H*up, W*up) as (N, H, W, up, up, C): the outputs of each source location together."""
    batch, channels, height, width = tensor.shape
    return tensor.reshape(batch, channels, height // up, up, width // up, up).permute(0, 2, 4, 3, 5, 1)


def _join_by_source(tensor: Tensor) -> Tensor:
    """Undo `_split_by_source`, giving (N, C, H*up, W*up)."""
    batch, height, width, up, _, channels = tensor.shape
    return tensor.permute(0, 5, 1, 3, 2, 4).contiguous().view(batch, channels, height * up, width * up)


def _prepare(features: Tensor, kernels: Tensor, up: int) -> tuple[Tensor, Tensor, int]:
    """Channels last, where the shared kernel makes the innermost loop a scaled sum of contiguous vectors.

    Returns the padded features (N, H, W, C), one weight per tap and output (taps, N, H, W, up, up, 1), and the kernel size.
    """
    dtype = _accumulation_dtype(features)
    size = _kernel_size(kernels)
    border = size // 2
    padded = F.pad(features.to(dtype).permute(0, 2, 3, 1), (0, 0, border, border, border, border))
    weights = _split_by_source(kernels.to(dtype), up).movedim(-1, 0).contiguous().unsqueeze(-1)
    return padded, weights, size


def _taps(padded: Tensor, size: int, down: int, height: int, width: int) -> Iterator[Tensor]:
    """Yield, tap by tap, the source pixels that the tap reads, as views (N, height, width, 1, 1, C) of the padded features."""
    for tap in range(size * size):
        top, left = divmod(tap, size)
        rows = slice(top, top + down * (height - 1) + 1, down)
        columns = slice(left, left + down * (width - 1) + 1, down)
        yield padded[:, rows, columns, None, None]


@torch.library.custom_op("feature_pyramids::reassemble", mutates_args=())
def _reassemble(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    padded, weights, size = _prepare(features, kernels, up)
    height, width = weights.shape[2:4]
    output = padded.new_zeros(*weights.shape[1:-1], features.shape[1])
    for source, weight in zip(_taps(padded, size, down, height, width), weights, strict=True):
        output.addcmul_(source, weight)
    return _join_by_source(output).to(features.dtype)


@torch.library.custom_op("feature_pyramids::reassemble_backward", mutates_args=())
def _reassemble_backward(gradient: Tensor, features: Tensor, kernels: Tensor, up: int, down: int) -> tuple[Tensor, Tensor]:
    padded, weights, size = _prepare(features, kernels, up)
    height, width = weights.shape[2:4]
    gradient = _split_by_source(gradient.to(padded.dtype), up).contiguous()
    padded_gradient = torch.zeros_like(padded)
    weights_gradient = torch.empty_like(weights)
    sources = _taps(padded, size, down, height, width)
    targets = _taps(padded_gradient, size, down, height, width)
    for source, target, weight, weight_gradient in zip(sources, targets, weights, weights_gradient, strict=True):
        torch.sum(gradient * source, dim=-1, keepdim=True, out=weight_gradient)
        target += (gradient * weight).sum(dim=(3, 4), keepdim=True)
    border = size // 2
    features_gradient = padded_gradient[:, border : border + features.shape[2], border : border + features.shape[3]]
    return (
        features_gradient.permute(0, 3, 1, 2).contiguous().to(features.dtype),
        _join_by_source(weights_gradient.squeeze(-1).movedim(0, -1)).to(kernels.dtype),
    )


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
