"""What the Triton kernels share: tiles of locations and channels, and which configurations are tried.

A tile has two dimensions, locations and channels, of which the one that is contiguous in memory comes last. What belongs to
locations or channels only has a length of 1 in the other dimension.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends import accumulation_dtype

# Elements of 16 bytes and more, of every dtype.
UNIT = tl.constexpr(16)
# Triton reads this variable once, when kernels are defined.
INTERPRETED = triton.knobs.runtime.interpret


def configurations(interpreted: triton.Config, *measured: triton.Config) -> list[triton.Config]:
    """The configurations that the autotuner measures on a GPU, or the only one of the interpreter, which cannot measure.

    With `cache_results` Triton keeps what it has measured beside its compiled kernels, for all processes on GPUs of that kind.
    """
    return [interpreted] if INTERPRETED else list(measured)


def for_memory_format(configs: list[triton.Config], _: dict, channels_last: bool, **__: object) -> list[triton.Config]:
    """Of the configurations, those with long rows of locations if these are contiguous in memory, else the others."""
    return [config for config in configs if (config.kwargs["tile_columns"] < 32) == channels_last]


def is_channels_last(tensor: Tensor) -> bool:
    """Whether neighbouring channels of a map, (N, C, H, W), are neighbours in memory."""
    return tensor.stride(1) == 1 and tensor.shape[1] > 1


def memory_of(**maps: Tensor) -> dict[str, tuple[int, ...] | str]:
    """Arguments that tell a kernel how maps lie in memory: the distances between neighbours, and what is known of them.

    A kernel is compiled once for all sizes of a map. Triton compiles anew for whole numbers that are 1 or multiples of 16, in a
    tuple whatever `do_not_specialize` says, so distances go to it as odd numbers from 3. What it can use stands in
    ``<name>_layout``: where neighbours in memory are, and that all else is a multiple of `UNIT` elements, so that a thread may
    read 16 bytes at a time.

    Parameters
    ----------
    **maps
        Maps by their names in the kernel, (N, C, H, W) or with more dimensions, of which the last is the columns.

    Returns
    -------
    dict
        ``<name>_steps`` and ``<name>_layout`` of each.
    """
    arguments: dict[str, tuple[int, ...] | str] = {}
    for name, tensor in maps.items():
        layout, strides = _layout(tensor), tensor.stride()
        unit = UNIT.value if layout == "blocks_of_channels" else 1
        arguments |= {f"{name}_steps": tuple(2 * (stride // unit) + 3 for stride in strides), f"{name}_layout": layout}
    return arguments


def _layout(tensor: Tensor) -> str:
    if tensor.dim() == 4 and is_channels_last(tensor):
        others = [stride for dimension, stride in enumerate(tensor.stride()) if dimension != 1]
        return "channels" if any(stride % UNIT.value for stride in others) else "blocks_of_channels"
    return "columns" if tensor.stride(-1) == 1 else "strided"


def sum_dtype(tensor: Tensor) -> tl.dtype:
    """Triton's name for the dtype that sums are taken in."""
    return tl.float64 if accumulation_dtype(tensor) == torch.float64 else tl.float32


@triton.jit
def strides_of(steps, layout: tl.constexpr):
    """Distances in memory between neighbours in each dimension, in 64 bits, from the arguments of `memory_of`."""
    nearest: tl.constexpr = _nearest(layout, len(steps))
    unit: tl.constexpr = UNIT if layout == "blocks_of_channels" else 1
    strides = ()
    for dimension in tl.static_range(len(steps)):
        if dimension == nearest:
            strides += (1,)
        else:
            strides += (distance(unit, (steps[dimension] - 3) >> 1),)
    return strides


@triton.constexpr_function
def _nearest(layout, dimensions):
    """The dimension whose neighbours are neighbours in memory; one that is not there if there is none."""
    return {"columns": dimensions - 1, "strided": dimensions}.get(layout, 1)


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
