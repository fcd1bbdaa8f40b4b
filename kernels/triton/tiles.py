"""What the Triton kernels share: tiles of locations and channels, and which configurations are tried.

A tile has two dimensions, locations and channels, of which the one that is contiguous in memory comes last. What belongs to
locations or channels only has a length of 1 in the other dimension.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends import accumulation_dtype

# Triton reads this variable once, when kernels are defined.
INTERPRETED = triton.knobs.runtime.interpret


def configurations(interpreted: triton.Config, *measured: triton.Config) -> list[triton.Config]:
    """The configurations that the autotuner measures on a GPU, or the only one of the interpreter, which cannot measure."""
    return [interpreted] if INTERPRETED else list(measured)


def for_memory_format(configs: list[triton.Config], _: dict, channels_last: bool, **__: object) -> list[triton.Config]:
    """Of the configurations, those with long rows of locations if these are contiguous in memory, else the others."""
    return [config for config in configs if (config.kwargs["tile_columns"] < 32) == channels_last]


def is_channels_last(tensor: Tensor) -> bool:
    """Whether neighbouring channels of a map, (N, C, H, W), are neighbours in memory."""
    return tensor.stride(1) == 1 and tensor.shape[1] > 1


def sum_dtype(tensor: Tensor) -> tl.dtype:
    """Triton's name for the dtype that sums are taken in."""
    return tl.float64 if accumulation_dtype(tensor) == torch.float64 else tl.float32


@triton.jit
def locations(rows, columns, tile_rows: tl.constexpr, tile_columns: tl.constexpr, channels_last: tl.constexpr):
    """Image, rows and columns of this program's tile of locations; axis 0 of the grid counts the tiles of all images.

    Locations beyond the last row or column are for the caller to mask.
    """
    across = tl.cdiv(columns, tile_columns)
    down = tl.cdiv(rows, tile_rows)
    tile = tl.program_id(0)
    index = tl.expand_dims(tl.arange(0, tile_rows * tile_columns), 1 if channels_last else 0)
    y = tile // across % down * tile_rows + index // tile_columns
    x = tile % across * tile_columns + index % tile_columns
    return (tile // across // down).to(tl.int64), y, x


@triton.jit
def channel_numbers(count: tl.constexpr, channels_last: tl.constexpr):
    """The numbers from 0 to `count`, in 64 bits, as the channels of a tile."""
    return tl.expand_dims(tl.arange(0, count), 0 if channels_last else 1).to(tl.int64)


@triton.jit
def zeros(count: tl.constexpr, places: tl.constexpr, channels: tl.constexpr, channels_last: tl.constexpr, dtype: tl.constexpr):
    """Tuple of tiles that are zero."""
    tiles = ()
    for _ in tl.static_range(count):
        if channels_last:
            tiles += (tl.zeros((places, channels), dtype),)
        else:
            tiles += (tl.zeros((channels, places), dtype),)
    return tiles


@triton.jit
def offset(y, x, y_stride, x_stride):
    """Distance in memory from location (0, 0), in 64 bits: a map can have more than 2^31 elements."""
    return y.to(tl.int64) * y_stride + x.to(tl.int64) * x_stride


@triton.jit
def distance(steps, stride):
    """Distance in memory of so many steps, in 64 bits: also a constant number of them can go beyond 2^31 elements."""
    return tl.full((), 1, tl.int64) * steps * stride


@triton.jit
def within(y, x, height, width):
    """Whether a location is one of a map."""
    return (y >= 0) & (y < height) & (x >= 0) & (x < width)
