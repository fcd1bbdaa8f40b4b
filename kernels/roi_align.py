"""RoIAlign with a gradient that repeats: regions of a map, pooled to the same size by bilinear samples."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.cpu import roi_align as pool
from kernels.cpu import roi_align_gradient as spread
from kernels.cpu import unavailable_reason
from kernels.roi_align_products import pool_by_products, spread_by_products

# Image, x1, y1, x2, y2.
REGION_LENGTH = 5


def roi_align(
    features: Tensor, regions: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int = 0
) -> Tensor:
    """Pool regions of a map to the same size, as Mask R-CNN does (https://arxiv.org/abs/1703.06870, section 3).

    A region is divided into equal bins and each bin into equal parts, without rounding; a bin's value is the mean of the
    bilinear samples in the middle of its parts. Samples more than one cell outside the map are zero. What mmcv's
    ``RoIAlign(pool_mode="avg", aligned=True)`` computes, equal to rounding. On the CPU this is C++, and the gradient repeats
    bit for bit for any number of threads. Elsewhere it is `kernels.roi_align_products`, products of matrices, which takes
    more time than mmcv's operator and repeats where torch's products do.

    Parameters
    ----------
    features : Tensor
        The map, (N, C, H, W); any memory format, any floating dtype. Half precision is summed in float32.
    regions : Tensor
        Index of the image, then x1, y1, x2, y2 in pixels of the image, (R, 5). They get no gradient.
    output_size : tuple of int
        Rows and columns of bins.
    spatial_scale : float
        Cells of the map per pixel of the image.
    sampling_ratio : int
        Parts along each side of a bin; 0 for as many as cells of the map that the bin touches.

    Returns
    -------
    Tensor
        The pooled regions, (R, C, rows, columns), contiguous, in the dtype of `features`.

    Raises
    ------
    ValueError
        If the shapes or the output size do not fit.
    RuntimeError
        If a region is of an image that is not there, or has sides that are negative or not finite.
    """
    _check(features, regions, output_size)
    regions = regions.detach().to(torch.promote_types(features.dtype, torch.float32))
    # In torch, because a fused multiplication and subtraction would round differently and so take other numbers of samples.
    in_cells = torch.cat([regions[:, :1], regions[:, 1:] * spatial_scale - 0.5], dim=1)
    return _RoIAlign.apply(features, in_cells, output_size, sampling_ratio)


@cache
def _operators(device: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """What pools on a type of device, and its gradient; asked at every call, and the answer looks at a file."""
    return (pool_by_products, spread_by_products) if unavailable_reason(device) else (pool, spread)


def _check(features: Tensor, regions: Tensor, output_size: tuple[int, int]) -> None:
    if features.dim() != 4 or not features.numel():
        raise ValueError(f"roi_align: features must be (N, C, H, W) and not empty, got {tuple(features.shape)}")
    if regions.dim() != 2 or regions.shape[1] != REGION_LENGTH:
        raise ValueError(f"roi_align: regions must be (R, 5): image, x1, y1, x2, y2; got {tuple(regions.shape)}")
    if min(output_size) < 1:
        raise ValueError(f"roi_align: output_size must be at least (1, 1), got {tuple(output_size)}")


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, regions: Tensor, output_size: tuple[int, int], samples: int) -> Tensor:
        ctx.save_for_backward(regions)
        ctx.features, ctx.samples = torch.empty_like(features, device="meta"), samples
        output = features.new_empty(len(regions), features.shape[1], *output_size)
        pool_regions, _ = _operators(features.device.type)
        pool_regions(features, regions, output, samples)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (regions,) = ctx.saved_tensors
        output = torch.empty_like(ctx.features, device=gradient.device)
        _, spread_gradient = _operators(gradient.device.type)
        spread_gradient(gradient, regions, output, ctx.samples)
        return output, None, None, None
