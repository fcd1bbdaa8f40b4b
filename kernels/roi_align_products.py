"""RoIAlign as products of matrices, for every device: what a bin takes of rows and of columns are independent of each other.

A region is ``R F C``: R (bins by rows of the map) and C (columns by bins) hold the shares of all samples. So is its gradient,
which products add up in an order of their own that repeats, where an operator that scatters needs atomic additions.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

# Values of what lies between the two products, at most.
VALUES_AT_ONCE = 2**26


def pool_by_products(features: Tensor, regions: Tensor, output: Tensor, samples: int) -> None:
    """Write the pooled regions (R, C, rows, columns) of a map (N, C, H, W) to `output`.

    Parameters
    ----------
    features : Tensor
        The map, (N, C, H, W).
    regions : Tensor
        Index of the image, then x1, y1, x2, y2 in cells of the map, (R, 5).
    output : Tensor
        (R, C, rows, columns).
    samples : int
        Samples along each side of a bin; 0 for as many as cells of the map that the bin touches.

    Raises
    ------
    RuntimeError
        If a region is of an image that is not there, or has sides that are negative or not finite.
    """
    _check(regions, len(features))
    for image, some, rows, columns in _shares(regions, features.shape, output.shape, samples):
        values = features[image].to(rows.dtype)
        # (R, rows, C, W), then each line times the shares of its region's columns.
        by_row = torch.einsum("rbh,chw->rbcw", rows, values)
        output[some] = torch.einsum("rbcw,rdw->rcbd", by_row, columns).to(output.dtype)


def spread_by_products(gradient: Tensor, regions: Tensor, output: Tensor, samples: int) -> None:
    """Write the gradient of the map to `output`, (N, C, H, W), given that of the pooled regions, (R, C, rows, columns).

    Parameters
    ----------
    gradient, regions, output, samples
        As in `pool_by_products`, with what is read and what is written exchanged.
    """
    total = torch.zeros_like(output, dtype=regions.dtype)
    for image, some, rows, columns in _shares(regions, output.shape, gradient.shape, samples):
        by_row = torch.einsum("rcbd,rdw->rbcw", gradient[some].to(rows.dtype), columns)
        total[image] += torch.einsum("rbh,rbcw->chw", rows, by_row)
    output.copy_(total)


def _check(regions: Tensor, images: int) -> None:
    if not bool(((regions[:, 0] >= 0) & (regions[:, 0] < images)).all()):
        raise RuntimeError("roi_align: a region of an image that is not there")
    sides = regions[:, 3:] - regions[:, 1:3]
    if not bool(((sides >= 0) & sides.isfinite()).all()):
        raise RuntimeError("roi_align: a region whose sides are negative or not finite")


def _shares(
    regions: Tensor, map_shape: torch.Size, output_shape: torch.Size, samples: int
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """For some regions of an image at a time: the image, their numbers, the shares of rows and of columns in their bins."""
    _, channels, height, width = map_shape
    bins = output_shape[2:]
    at_once = max(1, VALUES_AT_ONCE // (channels * width * bins[0]))
    for image in regions[:, 0].unique().long().tolist():
        for some in torch.nonzero(regions[:, 0] == image).flatten().split(at_once):
            x1, y1, x2, y2 = regions[some, 1:].unbind(1)
            yield image, some, _of_axis(y1, y2, bins[0], height, samples), _of_axis(x1, x2, bins[1], width, samples)


def _of_axis(start: Tensor, end: Tensor, bins: int, cells: int, samples: int) -> Tensor:
    """The share of each cell of an axis in each bin of regions, (R, bins, cells); samples in the middle of equal parts.

    Those more than one cell outside count as zeros, others outside are moved to the border.
    """
    length = (end - start) / bins
    parts = torch.full_like(length, samples) if samples else length.ceil()
    most = max(1, int(parts.max()))
    part = torch.arange(most, device=start.device, dtype=start.dtype)
    bin_starts = start[:, None] + torch.arange(bins, device=start.device, dtype=start.dtype) * length[:, None]
    within = (part + 0.5) * length[:, None] / parts.clamp(min=1)[:, None]
    positions = bin_starts[:, :, None] + within[:, None]
    counts = (part < parts[:, None])[:, None] & (positions >= -1) & (positions <= cells)
    distance = positions.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=start.device, dtype=start.dtype)
    shares = (1 - distance.abs()).clamp(min=0) * counts[..., None]
    return shares.sum(2) / parts.clamp(min=1)[:, None, None]
