"""Deformable aggregation and its gradients, each kernel one of pure writes.

A program samples at a tile of locations for one group, whose channels it takes block by block, so that a thread reads up to
16 bytes of neighbouring channels at each corner of a bilinear sample.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.triton.tiles import (
    channel_numbers,
    configurations,
    distance,
    for_memory_format,
    is_channels_last,
    locations,
    memory_of,
    offset,
    strides_of,
    sum_dtype,
    within,
    zeros,
)


def deformable_aggregate(values: Tensor, offsets: Tensor, modulation: Tensor, output: Tensor, offset_scale: float) -> None:
    """Write the aggregated map to `output`; the arguments are those of `kernels.deformable_aggregate`."""
    with torch.cuda.device_of(values):
        _forward[_grid(values, modulation)](
            values,
            offsets,
            modulation,
            output,
            height=values.shape[2],
            width=values.shape[3],
            **memory_of(values=values, offsets=offsets, modulation=modulation, output=output),
            **_constants(values, modulation),
            offset_scale=offset_scale,
        )


def deformable_aggregate_backward(
    gradient: Tensor,
    values: Tensor,
    offsets: Tensor,
    modulation: Tensor,
    gradients: tuple[Tensor, Tensor, Tensor],
    offset_scale: float,
) -> None:
    """Write the gradients of values, offsets and modulation to `gradients`, given the output's, (N, C, H, W).

    The gradients of offsets and modulation are sums over the channels of a group, within one program. The values' gradient
    is a scatter: every sample adds to the four pixels around it, wherever the offsets have put it. To be deterministic and
    free of atomics it is turned into a gather. The samples of an image are sorted, stably, by group and by the pixel at
    their upper left. Those that touch a pixel are then two runs of the sorted list, one per row of upper left pixels, which
    the pixel's program sums up in order. So offsets may be as large as they like, at no loss of speed.
    """
    values_gradient, offsets_gradient, modulation_gradient = gradients
    constants = _constants(values, modulation)
    with torch.cuda.device_of(values):
        _samples_gradient[_grid(values, modulation)](
            gradient,
            values,
            offsets,
            modulation,
            offsets_gradient,
            modulation_gradient,
            height=values.shape[2],
            width=values.shape[3],
            **memory_of(gradient=gradient, values=values, offsets=offsets, modulation=modulation),
            **memory_of(offsets_gradient=offsets_gradient, modulation_gradient=modulation_gradient),
            **constants,
            offset_scale=offset_scale,
        )
        # One image at a time, to bound the memory of the sorted lists.
        for image in range(values.shape[0]):
            one = slice(image, image + 1)
            _write_values_gradient(gradient[one], values_gradient[one], offsets[one], modulation[one], constants, offset_scale)


def _write_values_gradient(
    gradient: Tensor, target: Tensor, offsets: Tensor, modulation: Tensor, constants: dict, offset_scale: float
) -> None:
    """Write the values' gradient of one image to `target`."""
    groups, taps, height, width = modulation.shape[1:]
    corners = groups * (height + 1) * (width + 1)
    dtype = torch.int32 if corners < 2**31 else torch.int64
    keys = torch.empty(groups * height * width * taps, dtype=dtype, device=offsets.device)
    sampling = {name: constants[name] for name in ("size", "dtype")} | {"offset_scale": offset_scale}
    tile = {"tile_rows": 4, "tile_columns": 32}
    tiles = triton.cdiv(height, tile["tile_rows"]) * triton.cdiv(width, tile["tile_columns"])
    _corner_keys[tiles, groups](offsets, keys, height=height, width=width, **memory_of(offsets=offsets), **sampling, **tile)
    sorted_keys, order = torch.sort(keys, stable=True)
    starts = torch.searchsorted(sorted_keys, torch.arange(corners + 1, dtype=dtype, device=keys.device))
    _values_gradient[_grid(target, modulation)](
        gradient,
        offsets,
        modulation,
        order,
        starts,
        target,
        height=height,
        width=width,
        **memory_of(gradient=gradient, offsets=offsets, modulation=modulation, target=target),
        **constants,
        narrow=height * width * taps < 2**31,
        offset_scale=offset_scale,
    )


def _constants(values: Tensor, modulation: Tensor) -> dict:
    groups, taps = modulation.shape[1:3]
    channels = values.shape[1] // groups
    return {
        "channels": channels,
        "size": round(taps**0.5),
        "block": min(triton.next_power_of_2(channels), 64),
        "channels_last": is_channels_last(values),
        "dtype": sum_dtype(values),
    }


def _grid(values: Tensor, modulation: Tensor):
    batch, groups, _, height, width = modulation.shape

    def grid(config: dict) -> tuple[int, int]:
        tiles = triton.cdiv(height, config["tile_rows"]) * triton.cdiv(width, config["tile_columns"])
        return batch * tiles, groups

    return grid


def _tiles(registers: int | None = None) -> list[triton.Config]:
    """Configurations; with as many locations per warp in all of them, sums over channels have the same order in each."""
    sizes = (8, 8, 1), (4, 4, 1), (4, 8, 2), (8, 8, 4), (1, 32, 2), (2, 32, 4), (4, 32, 8)
    return configurations(
        *(
            triton.Config({"tile_rows": rows, "tile_columns": columns}, num_warps=warps, maxnreg=registers)
            for rows, columns, warps in sizes
        )
    )


_CONFIGURATIONS = _tiles()
_KEY = ["channels", "size", "channels_last"]


@triton.autotune(_CONFIGURATIONS, key=_KEY, prune_configs_by={"early_config_prune": for_memory_format}, cache_results=True)
@triton.jit(do_not_specialize=["height", "width"])
def _forward(
    values,
    offsets,
    modulation,
    output,
    values_steps,
    offsets_steps,
    modulation_steps,
    output_steps,
    height,
    width,
    values_layout: tl.constexpr,
    offsets_layout: tl.constexpr,
    modulation_layout: tl.constexpr,
    output_layout: tl.constexpr,
    channels: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    offset_scale: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    values_strides = strides_of(values_steps, values_layout)
    offsets_strides = strides_of(offsets_steps, offsets_layout)
    modulation_strides = strides_of(modulation_steps, modulation_layout)
    output_strides = strides_of(output_steps, output_layout)
    image, y, x = locations(height, width, tile_rows, tile_columns, channels_last)
    exists = (y < height) & (x < width)
    group = tl.program_id(1).to(tl.int64)
    values += image * values_strides[0] + group * channels * values_strides[1]
    output += image * output_strides[0] + group * channels * output_strides[1]
    output += offset(y, x, output_strides[2], output_strides[3])
    offsets += image * offsets_strides[0] + group * offsets_strides[1] + offset(y, x, offsets_strides[4], offsets_strides[5])
    modulation += image * modulation_strides[0] + group * modulation_strides[1]
    modulation += offset(y, x, modulation_strides[3], modulation_strides[4])
    for start in tl.static_range(0, channels, block):
        channel = start + channel_numbers(block, channels_last)
        (total,) = zeros(1, tile_rows * tile_columns, block, channels_last, dtype)
        for tap in range(size * size):
            inside, left, top, right_share, bottom_share = _corner(
                offsets + distance(tap, offsets_strides[2]),
                offsets_strides[3],
                y,
                x,
                tap,
                exists,
                height,
                width,
                size,
                offset_scale,
                dtype,
            )
            sample = tl.zeros_like(total)
            for corner in tl.static_range(4):
                value = _load_corner(values, values_strides, top, left, corner, inside, height, width, channel, channels, dtype)
                sample += value * _share(right_share, corner % 2) * _share(bottom_share, corner // 2)
            weight = tl.load(modulation + distance(tap, modulation_strides[2]), exists, 0.0).to(dtype)
            total += weight * sample
        tl.store(output + channel * output_strides[1], total, exists & (channel < channels))


@triton.autotune(_CONFIGURATIONS, key=_KEY, prune_configs_by={"early_config_prune": for_memory_format}, cache_results=True)
@triton.jit(do_not_specialize=["height", "width"])
def _samples_gradient(
    gradient,
    values,
    offsets,
    modulation,
    offsets_gradient,
    modulation_gradient,
    gradient_steps,
    values_steps,
    offsets_steps,
    modulation_steps,
    offsets_gradient_steps,
    modulation_gradient_steps,
    height,
    width,
    gradient_layout: tl.constexpr,
    values_layout: tl.constexpr,
    offsets_layout: tl.constexpr,
    modulation_layout: tl.constexpr,
    offsets_gradient_layout: tl.constexpr,
    modulation_gradient_layout: tl.constexpr,
    channels: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    offset_scale: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    gradient_strides = strides_of(gradient_steps, gradient_layout)
    values_strides = strides_of(values_steps, values_layout)
    offsets_strides = strides_of(offsets_steps, offsets_layout)
    modulation_strides = strides_of(modulation_steps, modulation_layout)
    offsets_gradient_strides = strides_of(offsets_gradient_steps, offsets_gradient_layout)
    modulation_gradient_strides = strides_of(modulation_gradient_steps, modulation_gradient_layout)
    image, y, x = locations(height, width, tile_rows, tile_columns, channels_last)
    exists = (y < height) & (x < width)
    group = tl.program_id(1).to(tl.int64)
    gradient += image * gradient_strides[0] + group * channels * gradient_strides[1]
    gradient += offset(y, x, gradient_strides[2], gradient_strides[3])
    values += image * values_strides[0] + group * channels * values_strides[1]
    offsets += image * offsets_strides[0] + group * offsets_strides[1] + offset(y, x, offsets_strides[4], offsets_strides[5])
    modulation += image * modulation_strides[0] + group * modulation_strides[1]
    modulation += offset(y, x, modulation_strides[3], modulation_strides[4])
    offsets_gradient += image * offsets_gradient_strides[0] + group * offsets_gradient_strides[1]
    offsets_gradient += offset(y, x, offsets_gradient_strides[4], offsets_gradient_strides[5])
    modulation_gradient += image * modulation_gradient_strides[0] + group * modulation_gradient_strides[1]
    modulation_gradient += offset(y, x, modulation_gradient_strides[3], modulation_gradient_strides[4])
    for tap in range(size * size):
        inside, left, top, right_share, bottom_share = _corner(
            offsets + distance(tap, offsets_strides[2]),
            offsets_strides[3],
            y,
            x,
            tap,
            exists,
            height,
            width,
            size,
            offset_scale,
            dtype,
        )
        # All three gradients are linear in the products of the output's gradient with the four corners.
        sums = zeros(4, tile_rows * tile_columns, block, channels_last, dtype)
        for start in tl.static_range(0, channels, block):
            channel = start + channel_numbers(block, channels_last)
            mask = exists & (channel < channels)
            incoming = tl.load(gradient + channel * gradient_strides[1], mask, 0.0).to(dtype)
            updated = ()
            for corner in tl.static_range(4):
                value = _load_corner(values, values_strides, top, left, corner, inside, height, width, channel, channels, dtype)
                updated += (sums[corner] + value * incoming,)
            sums = updated
        upper = sums[0] * (1 - right_share) + sums[1] * right_share
        lower = sums[2] * (1 - right_share) + sums[3] * right_share
        rightwards = (sums[1] - sums[0]) * (1 - bottom_share) + (sums[3] - sums[2]) * bottom_share
        axis: tl.constexpr = 1 if channels_last else 0
        move_x = tl.sum(rightwards, axis, keep_dims=True)
        move_y = tl.sum(lower - upper, axis, keep_dims=True)
        share = tl.sum(upper * (1 - bottom_share) + lower * bottom_share, axis, keep_dims=True)
        scaled = tl.load(modulation + distance(tap, modulation_strides[2]), exists, 0.0).to(dtype) * offset_scale
        place = offsets_gradient + distance(tap, offsets_gradient_strides[2])
        tl.store(place, tl.where(inside, scaled * move_x, 0.0), exists)
        tl.store(place + offsets_gradient_strides[3], tl.where(inside, scaled * move_y, 0.0), exists)
        tl.store(modulation_gradient + distance(tap, modulation_gradient_strides[2]), share, exists)


@triton.jit(do_not_specialize=["height", "width"])
def _corner_keys(
    offsets,
    keys,
    offsets_steps,
    height,
    width,
    offsets_layout: tl.constexpr,
    size: tl.constexpr,
    dtype: tl.constexpr,
    offset_scale: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """Number the upper left pixel of every sample of an image, by group, row and column; those outside come last."""
    offsets_strides = strides_of(offsets_steps, offsets_layout)
    _image, y, x = locations(height, width, tile_rows, tile_columns, False)
    exists = (y < height) & (x < width)
    group = tl.program_id(1).to(tl.int64)
    offsets += group * offsets_strides[1] + offset(y, x, offsets_strides[4], offsets_strides[5])
    keys += offset(group * height + y, x, width * size * size, size * size)
    outside = tl.num_programs(1).to(tl.int64) * (height + 1) * (width + 1)
    for tap in range(size * size):
        inside, left, top, _right_share, _bottom_share = _corner(
            offsets + distance(tap, offsets_strides[2]),
            offsets_strides[3],
            y,
            x,
            tap,
            exists,
            height,
            width,
            size,
            offset_scale,
            dtype,
        )
        key = (group * (height + 1) + top + 1) * (width + 1) + left + 1
        tl.store(keys + tap, tl.where(inside, key, outside), exists)


# Left to itself the assembler spills a few registers to have three programs at once.
@triton.autotune(
    _tiles(registers=192), key=_KEY, prune_configs_by={"early_config_prune": for_memory_format}, cache_results=True
)
@triton.jit(do_not_specialize=["height", "width"])
def _values_gradient(
    gradient,
    offsets,
    modulation,
    order,
    starts,
    target,
    gradient_steps,
    offsets_steps,
    modulation_steps,
    target_steps,
    height,
    width,
    gradient_layout: tl.constexpr,
    offsets_layout: tl.constexpr,
    modulation_layout: tl.constexpr,
    target_layout: tl.constexpr,
    channels: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    narrow: tl.constexpr,
    offset_scale: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    gradient_strides = strides_of(gradient_steps, gradient_layout)
    offsets_strides = strides_of(offsets_steps, offsets_layout)
    modulation_strides = strides_of(modulation_steps, modulation_layout)
    target_strides = strides_of(target_steps, target_layout)
    _image, y, x = locations(height, width, tile_rows, tile_columns, channels_last)
    exists = (y < height) & (x < width)
    group = tl.program_id(1).to(tl.int64)
    gradient += group * channels * gradient_strides[1]
    offsets += group * offsets_strides[1]
    modulation += group * modulation_strides[1]
    target += group * channels * target_strides[1] + offset(y, x, target_strides[2], target_strides[3])
    # The samples whose upper left pixel is in the row above, at the left or not, then those of this row.
    starts += (group * (height + 1) + y) * (width + 1) + x
    above = tl.load(starts, exists, 0)
    above_count = tl.load(starts + 2, exists, 0) - above
    level = tl.load(starts + width + 1, exists, 0)
    count = above_count + tl.load(starts + width + 3, exists, 0) - level
    longest = tl.max(tl.max(count, 0), 0)
    samples = tl.full((), size * size, tl.int64) * height * width
    for start in tl.static_range(0, channels, block):
        channel = start + channel_numbers(block, channels_last)
        (total,) = zeros(1, tile_rows * tile_columns, block, channels_last, dtype)
        for step in range(longest):
            listed = step < count
            place = tl.where(step < above_count, above + step, level + step - above_count)
            sample = tl.load(order + place, listed, group * samples) - group * samples
            if narrow:
                sample = sample.to(tl.int32)
            tap = (sample % (size * size)).to(tl.int32)
            from_y = (sample // (size * size) // width).to(tl.int32)
            from_x = (sample // (size * size) % width).to(tl.int32)
            displacement = offsets + tap.to(tl.int64) * offsets_strides[2]
            displacement += offset(from_y, from_x, offsets_strides[4], offsets_strides[5])
            _inside, left, top, right_share, bottom_share = _corner(
                displacement, offsets_strides[3], from_y, from_x, tap, listed, height, width, size, offset_scale, dtype
            )
            weight = modulation + tap.to(tl.int64) * modulation_strides[2]
            weight = tl.load(weight + offset(from_y, from_x, modulation_strides[3], modulation_strides[4]), listed, 0.0)
            share = tl.where(left == x, 1 - right_share, right_share) * tl.where(top == y, 1 - bottom_share, bottom_share)
            incoming = gradient + offset(from_y, from_x, gradient_strides[2], gradient_strides[3])
            incoming = tl.load(incoming + channel * gradient_strides[1], listed & (channel < channels), 0.0).to(dtype)
            total += weight.to(dtype) * share * incoming
        tl.store(target + channel * target_strides[1], total, exists & (channel < channels))


@triton.jit
def _corner(
    displacement,
    component_stride,
    y,
    x,
    tap,
    exists,
    height,
    width,
    size: tl.constexpr,
    offset_scale: tl.constexpr,
    dtype: tl.constexpr,
):
    """Where a tap samples: whether inside, column and row of the upper left pixel, shares of the right and lower pixels."""
    to_right = tl.load(displacement, exists, 0.0).to(dtype)
    down = tl.load(displacement + component_stride, exists, 0.0).to(dtype)
    sample_x = x + offset_scale * (to_right + (tap // size - size // 2))
    sample_y = y + offset_scale * (down + (tap % size - size // 2))
    # Comparisons with NaN are false, so a NaN sample counts as outside and gives no pixel index.
    inside = exists & (sample_x > -1) & (sample_x < width) & (sample_y > -1) & (sample_y < height)
    sample_x = tl.where(inside, sample_x, 0.0)
    sample_y = tl.where(inside, sample_y, 0.0)
    left = tl.floor(sample_x)
    top = tl.floor(sample_y)
    return inside, left.to(tl.int32), top.to(tl.int32), sample_x - left, sample_y - top


@triton.jit
def _share(share, second: tl.constexpr):
    """Weight of the first or the second of two neighbours, given that of the second."""
    if second:
        return share
    else:
        return 1 - share


@triton.jit
def _load_corner(
    values,
    strides,
    top,
    left,
    corner: tl.constexpr,
    inside,
    height,
    width,
    channel,
    channels: tl.constexpr,
    dtype: tl.constexpr,
):
    """Read one of the four pixels around a sample, zero beyond the border of the map."""
    y = top + corner // 2
    x = left + corner % 2
    mask = inside & within(y, x, height, width) & (channel < channels)
    return tl.load(values + offset(y, x, strides[2], strides[3]) + channel * strides[1], mask, 0.0).to(dtype)
