"""The operators in C++ for the CPU: vectorised, run by torch's own threads, repeatable bit for bit."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from kernels.cpu.library import cpu_capability, library_path


def unavailable_reason(device: str) -> str | None:
    """Why this backend cannot compute on a type of device, or None.

    Parameters
    ----------
    device : str
        Type of a `torch.device`.
    """
    if device != "cpu":
        return f"the C++ operators compute on the CPU only, got {device}"
    if not library_path(cpu_capability()).exists():
        return "the C++ operators are not built for this source and torch (build them: python -m kernels.cpu.build)"
    try:
        _operators()
    except OSError as error:
        return f"the C++ operators cannot be loaded ({error})"
    return None


@cache
def _operators() -> Any:
    torch.ops.load_library(library_path(cpu_capability()))
    return torch.ops.feature_pyramids_cpu


def reassemble(features: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the reassembled map to `output`; the arguments are those of `kernels.reassemble`."""
    _operators().reassemble(features, kernels, output, up, down, groups)


def reassemble_features_gradient(gradient: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the features' gradient (N, C, H, W) to `output`, given the output's (N, C, H_out, W_out)."""
    _operators().reassemble_features_gradient(gradient, kernels, output, up, down, groups)


def reassemble_kernels_gradient(gradient: Tensor, features: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the kernels' gradient (N, groups * k * k, H_out, W_out) to `output`, given the output's (N, C, H_out, W_out)."""
    _operators().reassemble_kernels_gradient(gradient, features, output, up, down, groups)


def deformable_aggregate(values: Tensor, offsets: Tensor, modulation: Tensor, output: Tensor, offset_scale: float) -> None:
    """Write the aggregated map to `output`; the arguments are those of `kernels.deformable_aggregate`."""
    _operators().deformable_aggregate(values, offsets, modulation, output, offset_scale)


def deformable_aggregate_backward(
    gradient: Tensor,
    values: Tensor,
    offsets: Tensor,
    modulation: Tensor,
    gradients: tuple[Tensor, Tensor, Tensor],
    offset_scale: float,
) -> None:
    """Write the gradients of values, offsets and modulation to `gradients`, given the output's, (N, C, H, W)."""
    _operators().deformable_aggregate_backward(gradient, values, offsets, modulation, *gradients, offset_scale)


def roi_align(features: Tensor, regions: Tensor, output: Tensor, samples: int) -> None:
    """Write the pooled regions to `output`, (R, C, rows, columns).

    Parameters
    ----------
    features : Tensor
        The map, (N, C, H, W).
    regions : Tensor
        Image, x1, y1, x2, y2 of each region, (R, 5), contiguous, in cells of the map and from the first cell's centre; in the
        dtype that sums are taken in.
    output : Tensor
        Receives the result.
    samples : int
        Samples along each side of a bin; 0 for one per cell.

    Raises
    ------
    RuntimeError
        If a region is of an image that is not there, or its sides are negative or not finite.
    """
    _operators().roi_align(features, regions, output, samples)


def roi_align_gradient(gradient: Tensor, regions: Tensor, output: Tensor, samples: int) -> None:
    """Write the map's gradient to `output`, (N, C, H, W), given that of the pooled regions."""
    _operators().roi_align_gradient(gradient, regions, output, samples)


def deform_columns(features: Tensor, offsets: Tensor, modulation: Tensor, columns: Tensor, groups: int) -> None:
    """Write the samples of a modulated deformable convolution to `columns`, stride 1, as much padding as keeps the size.

    Parameters
    ----------
    features : Tensor
        (N, H, W, C), contiguous as all others and of the same dtype, float32 or float64.
    offsets : Tensor
        Pairs (dy, dx) of each group and tap, (N, 2 * groups * K * K, H, W).
    modulation : Tensor
        Weight of each group and tap, (N, groups * K * K, H, W).
    columns : Tensor
        Receives the result, (N, H * W, K * K, C).
    groups : int
        Groups of channels that move together.
    """
    _operators().deform_columns(features, offsets, modulation, columns, groups)


def deform_columns_gradient(
    columns: Tensor,
    features: Tensor,
    offsets: Tensor,
    modulation: Tensor,
    gradients: tuple[Tensor, Tensor, Tensor],
    groups: int,
) -> None:
    """Write the gradients of features, which must be zero before, offsets and modulation, given that of the columns."""
    _operators().deform_columns_gradient(columns, features, offsets, modulation, *gradients, groups)
