"""Content-aware reassembly: every output location is a weighted sum of the neighbourhood of its source location."""

import torch
from torch import Tensor
from torch.library import register_autograd, register_fake
from torch.utils.flop_counter import register_flop_formula

from kernels.backends import accumulation_dtype, backend_for
from kernels.registration import empty, operator, register_autocast


def reassemble(features: Tensor, kernels: Tensor, up: int = 1, down: int = 1, groups: int = 1) -> Tensor:
    """Apply one predicted kernel per output location to the feature map.

    With kernel size k, output location (X, Y) is the sum over the k x k neighbourhood, zero padded, of source location
    (floor(X / up) * down, floor(Y / up) * down), weighted by the kernel at (X, Y). The channels of a group share the kernel.

    Parameters
    ----------
    features : Tensor
        The map to read, (N, C, H, W). Fastest in the channels_last memory format, which the result then has too.
    kernels : Tensor
        The weights, (N, groups * k * k, H_out, W_out), k odd, in row-major order of the neighbourhood. They are used as they
        are: normalise them before, usually by a softmax over each group's k * k. Any floating dtype.
        Upsampling needs H_out = up * H and W_out = up * W, downsampling H_out = ceil(H / down) and W_out = ceil(W / down).
    up : int
        Upsampling factor.
    down : int
        Downsampling factor. At most one of the two factors may exceed 1.
    groups : int
        Number of groups that the channels are divided into, each with kernels of its own.

    Returns
    -------
    Tensor
        The reassembled map, (N, C, H_out, W_out), in the dtype of `features`. Half-precision input is accumulated in float32.

    Raises
    ------
    ValueError
        If the shapes, the factors or the kernel size do not fit together.
    RuntimeError
        If the environment variable FEATURE_PYRAMIDS_BACKEND names a backend that cannot compute here.

    Notes
    -----
    CARAFE (Wang et al., ICCV 2019), equation 2, is ``up=2``; the pooling twin CAP of A²-FPN (arXiv 2105.03186) is ``down=2``.
    The unfolded tensor (k * k times the features) is never built. Differentiable any number of times: the operator is linear
    in either argument, so that its gradients are again reassemblies. Under autocast the features take the autocast dtype,
    unless they are float64, and the kernels keep theirs.
    """
    _check_arguments(features, kernels, up, down, groups)
    return torch.ops.feature_pyramids.reassemble(features, kernels, up, down, groups)


def _check_arguments(features: Tensor, kernels: Tensor, up: int, down: int, groups: int) -> None:
    if up < 1 or down < 1 or (up > 1 and down > 1):
        raise ValueError(f"reassemble: up and down must be at least 1 and not both above 1, got up={up}, down={down}")
    if features.dim() != 4 or kernels.dim() != 4:
        raise ValueError(f"reassemble: expected two 4-D tensors, got {tuple(features.shape)} and {tuple(kernels.shape)}")
    if features.device != kernels.device:
        raise ValueError(f"reassemble: features are on {features.device}, kernels on {kernels.device}")
    if not (features.is_floating_point() and kernels.is_floating_point()):
        raise ValueError(f"reassemble: expected floating-point tensors, got {features.dtype} and {kernels.dtype}")
    if groups < 1 or features.shape[1] % groups or kernels.shape[1] % groups:
        raise ValueError(
            f"reassemble: groups must divide the {features.shape[1]} channels and the {kernels.shape[1]} kernel weights,"
            f" got groups={groups}"
        )
    taps = kernels.shape[1] // groups
    size = round(taps**0.5)
    if size * size != taps or size % 2 == 0:
        raise ValueError(
            f"reassemble: dimension 1 of the kernels must be groups times the square of an odd number, got {kernels.shape[1]}"
        )
    height, width = features.shape[2:]
    wanted = (features.shape[0], *(-(-length * up // down) for length in (height, width)))
    got = (kernels.shape[0], *kernels.shape[2:])
    if got != wanted:
        raise ValueError(
            f"reassemble: features {tuple(features.shape)} with up={up}, down={down} need kernels of batch and size {wanted},"
            f" got {got}"
        )


@operator("reassemble")
def _reassemble(features: Tensor, kernels: Tensor, up: int, down: int, groups: int) -> Tensor:
    output = empty(features, (*features.shape[:2], *kernels.shape[2:]))
    if output.numel():
        backend_for(features).reassemble(features, kernels, output, up, down, groups)
    return output


@operator("reassemble_features_gradient")
def _features_gradient(gradient: Tensor, kernels: Tensor, height: int, width: int, up: int, down: int, groups: int) -> Tensor:
    output = empty(gradient, (*gradient.shape[:2], height, width))
    if output.numel():
        backend_for(gradient).reassemble_features_gradient(gradient, kernels, output, up, down, groups)
    return output


@operator("reassemble_kernels_gradient")
def _kernels_gradient(gradient: Tensor, features: Tensor, size: int, up: int, down: int, groups: int) -> Tensor:
    shape = (gradient.shape[0], groups * size * size, *gradient.shape[2:])
    output = empty(features, shape, accumulation_dtype(features))
    if not features.numel():
        return output.zero_()
    backend_for(gradient).reassemble_kernels_gradient(gradient, features, output, up, down, groups)
    return output


@register_fake(_reassemble)
def _(features: Tensor, kernels: Tensor, up: int, down: int, groups: int) -> Tensor:
    return empty(features, (*features.shape[:2], *kernels.shape[2:]))


@register_fake(_features_gradient)
def _(gradient: Tensor, kernels: Tensor, height: int, width: int, up: int, down: int, groups: int) -> Tensor:
    return empty(gradient, (*gradient.shape[:2], height, width))


@register_fake(_kernels_gradient)
def _(gradient: Tensor, features: Tensor, size: int, up: int, down: int, groups: int) -> Tensor:
    return empty(features, (gradient.shape[0], groups * size * size, *gradient.shape[2:]), accumulation_dtype(features))


def _size(kernels: Tensor, groups: int) -> int:
    return round((kernels.shape[1] // groups) ** 0.5)


# The output R(f, k) is linear in features and kernels. With F(g, k) and K(g, f) for its gradients, g the output's gradient,
# <g, R(f, k)> = <F(g, k), f> = <K(g, f), k>: so the three operators are each other's derivatives.


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    first, second, *ctx.factors = inputs
    ctx.save_for_backward(first, second)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, kernels = ctx.saved_tensors
    up, down, groups = ctx.factors
    features_gradient = kernels_gradient = None
    if ctx.needs_input_grad[0]:
        features_gradient = _features_gradient(gradient, kernels, *features.shape[2:], up, down, groups)
    if ctx.needs_input_grad[1]:
        kernels_gradient = _kernels_gradient(gradient, features, _size(kernels, groups), up, down, groups).to(kernels.dtype)
    return features_gradient, kernels_gradient, None, None, None


def _features_gradient_backward(ctx, direction: Tensor) -> tuple[Tensor | None, ...]:
    gradient, kernels = ctx.saved_tensors
    _, _, up, down, groups = ctx.factors
    of_gradient = of_kernels = None
    if ctx.needs_input_grad[0]:
        of_gradient = _reassemble(direction, kernels, up, down, groups)
    if ctx.needs_input_grad[1]:
        of_kernels = _kernels_gradient(gradient, direction, _size(kernels, groups), up, down, groups).to(kernels.dtype)
    return of_gradient, of_kernels, None, None, None, None, None


def _kernels_gradient_backward(ctx, direction: Tensor) -> tuple[Tensor | None, ...]:
    gradient, features = ctx.saved_tensors
    _, up, down, groups = ctx.factors
    of_gradient = of_features = None
    if ctx.needs_input_grad[0]:
        of_gradient = _reassemble(features, direction, up, down, groups)
    if ctx.needs_input_grad[1]:
        of_features = _features_gradient(gradient, direction, *features.shape[2:], up, down, groups)
    return of_gradient, of_features, None, None, None, None


register_autograd(_reassemble, _backward, setup_context=_save)
register_autograd(_features_gradient, _features_gradient_backward, setup_context=_save)
register_autograd(_kernels_gradient, _kernels_gradient_backward, setup_context=_save)
register_autocast(_reassemble)


@register_flop_formula(torch.ops.feature_pyramids.reassemble)
def _count_flops(features_shape: torch.Size, kernels_shape: torch.Size, up: int, down: int, groups: int, **_) -> int:
    """Two operations, a multiplication and an addition, per tap and output value."""
    batch, taps, height, width = kernels_shape
    return 2 * batch * features_shape[1] * (taps // groups) * height * width


@register_flop_formula(torch.ops.feature_pyramids.reassemble_features_gradient)
def _count_features_gradient_flops(
    gradient_shape: torch.Size, kernels_shape: torch.Size, height: int, width: int, up: int, down: int, groups: int, **_
) -> int:
    """As many as the forward pass."""
    return _count_flops(gradient_shape, kernels_shape, up, down, groups)


@register_flop_formula(torch.ops.feature_pyramids.reassemble_kernels_gradient)
def _count_kernels_gradient_flops(
    gradient_shape: torch.Size, features_shape: torch.Size, size: int, up: int, down: int, groups: int, **_
) -> int:
    """As many as the forward pass."""
    batch, channels, height, width = gradient_shape
    return 2 * batch * channels * size * size * height * width
