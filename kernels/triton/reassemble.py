"""Content-aware reassembly and its two gradients, each one kernel of pure writes.

Locations are counted in cells, the coarser of the two resolutions: with an upsampling factor a cell is a source location and
its up x up outputs, with a downsampling factor an output location and the down x down source locations around its source.
A program computes a tile of cells for a block of channels; where `run` exceeds 1, each of its lanes takes that many
neighbouring cells of a row, which share what they read.
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


def reassemble(features: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the reassembled map to `output`; the arguments are those of `kernels.reassemble`.

    Every neighbour of a source location is read once for all its outputs.
    """
    channels = features.shape[1] // groups
    rows, columns = output.shape[2] // up, output.shape[3] // up
    with torch.cuda.device_of(features):
        _forward[_grid(output.shape[0], rows, columns, groups, channels)](
            features,
            kernels,
            output,
            channels=channels,
            height=features.shape[2],
            width=features.shape[3],
            rows=rows,
            columns=columns,
            **memory_of(features=features, kernels=kernels, output=output),
            size=_size(kernels, groups),
            up=up,
            down=down,
            channels_last=is_channels_last(features),
            dtype=sum_dtype(features),
        )


def reassemble_features_gradient(gradient: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the features' gradient (N, C, H, W) to `output`, given the output's (N, C, H_out, W_out).

    Every source location gathers from the outputs that read it, in a fixed order.
    """
    channels = gradient.shape[1] // groups
    rows, columns = gradient.shape[2] // up, gradient.shape[3] // up
    with torch.cuda.device_of(gradient):
        _features_gradient[_grid(output.shape[0], output.shape[2], columns, groups, channels)](
            gradient,
            kernels,
            output,
            channels=channels,
            height=output.shape[2],
            width=output.shape[3],
            rows=rows,
            columns=columns,
            **memory_of(gradient=gradient, kernels=kernels, output=output),
            size=_size(kernels, groups),
            up=up,
            down=down,
            channels_last=is_channels_last(gradient),
            dtype=sum_dtype(gradient),
        )


def reassemble_kernels_gradient(gradient: Tensor, features: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the kernels' gradient (N, groups * k * k, H_out, W_out) to `output`, given the output's (N, C, H_out, W_out).

    One program sums over all channels of a group. The order of this sum depends on none of the tuned parameters, so that the
    result does not depend on which configuration the autotuner prefers.
    """
    channels = features.shape[1] // groups
    rows, columns = output.shape[2] // up, output.shape[3] // up
    channels_last = is_channels_last(features)
    # A thread reads 16 bytes of neighbouring channels, and four threads share a location; or neighbouring threads read
    # neighbouring locations.
    vector = 16 // features.element_size() if channels_last else 1

    def grid(config: dict) -> tuple[int, int]:
        return output.shape[0] * _tiles(rows, columns, config), groups

    with torch.cuda.device_of(gradient):
        _kernels_gradient[grid](
            gradient,
            features,
            output,
            channels=channels,
            height=features.shape[2],
            width=features.shape[3],
            rows=rows,
            columns=columns,
            **memory_of(gradient=gradient, features=features, output=output),
            size=_size(output, groups),
            up=up,
            down=down,
            channels_last=channels_last,
            dtype=sum_dtype(features),
            vector=vector,
            block=4 * vector if channels_last else 1,
        )


def _size(kernels: Tensor, groups: int) -> int:
    return round((kernels.shape[1] // groups) ** 0.5)


def _tiles(rows: int, columns: int, config: dict) -> int:
    return triton.cdiv(rows, config["tile_rows"]) * triton.cdiv(columns, config["tile_columns"])


def _grid(batch: int, rows: int, columns: int, groups: int, channels: int):
    def grid(config: dict) -> tuple[int, int]:
        tiles = _tiles(rows, triton.cdiv(columns, config["run"]), config)
        return batch * tiles, groups * triton.cdiv(channels, config["block"] * config["chunks"])

    return grid


def _tile(rows: int, columns: int, run: int, block: int, chunks: int, warps: int) -> triton.Config:
    sizes = {"tile_rows": rows, "tile_columns": columns, "run": run, "block": block, "chunks": chunks}
    return triton.Config(sizes, num_warps=warps)


def _pass(rows: int, columns: int, tap_rows: int, warps: int, stages: int = 1, registers: int | None = None) -> triton.Config:
    sizes = {"tile_rows": rows, "tile_columns": columns, "tap_rows": tap_rows, "stages": stages}
    return triton.Config(sizes, num_warps=warps, maxnreg=registers)


_KEY = ["channels", "size", "up", "down", "channels_last"]


@triton.autotune(
    configurations(
        _tile(4, 4, 2, 4, 2, 1),
        _tile(4, 2, 2, 128, 2, 8),
        _tile(4, 2, 1, 128, 2, 8),
        _tile(4, 4, 2, 128, 1, 8),
        _tile(4, 4, 2, 64, 1, 4),
        _tile(4, 8, 1, 64, 1, 8),
        _tile(2, 32, 1, 2, 8, 4),
        _tile(4, 32, 1, 1, 8, 4),
        _tile(4, 32, 1, 2, 4, 8),
    ),
    key=_KEY,
    prune_configs_by={"early_config_prune": for_memory_format},
    cache_results=True,
)
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])
def _forward(
    features,
    kernels,
    output,
    features_steps,
    kernels_steps,
    output_steps,
    channels,
    height,
    width,
    rows,
    columns,
    features_layout: tl.constexpr,
    kernels_layout: tl.constexpr,
    output_layout: tl.constexpr,
    size: tl.constexpr,
    up: tl.constexpr,
    down: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    run: tl.constexpr,
    block: tl.constexpr,
    chunks: tl.constexpr,
):
    features_strides = strides_of(features_steps, features_layout)
    kernels_strides = strides_of(kernels_steps, kernels_layout)
    output_strides = strides_of(output_steps, output_layout)
    image, y, x = locations(rows, tl.cdiv(columns, run), tile_rows, tile_columns, channels_last)
    x *= run
    group, channel = _group_and_channel(channels, block, chunks, channels_last)
    features += image * features_strides[0] + (group * channels + channel) * features_strides[1]
    kernels += image * kernels_strides[0] + group * (size * size) * kernels_strides[1]
    output += image * output_strides[0] + (group * channels + channel) * output_strides[1]
    weights = ()
    for cell in tl.static_range(run):
        for part in tl.static_range(up * up):
            place = offset(y * up + part // up, (x + cell) * up + part % up, kernels_strides[2], kernels_strides[3])
            weights += (kernels + place,)
    sums = zeros(run * up * up * chunks, tile_rows * tile_columns, block, channels_last, dtype)
    for row in range(size):
        for step in tl.static_range((run - 1) * down + size):
            source_y = y * down + row - size // 2
            source_x = x * down + step - size // 2
            source = features + offset(source_y, source_x, features_strides[2], features_strides[3])
            inside = within(source_y, source_x, height, width)
            neighbours = _load(source, inside, channel, channels, features_strides[1], block, chunks, dtype)
            updated = ()
            for cell in tl.static_range(run):
                exists = (y < rows) & (x + cell < columns)
                for part in tl.static_range(up * up):
                    if _is_column(step - cell * down - size // 2, size):
                        tap = distance(row * size + step - cell * down, kernels_strides[1])
                        weight = tl.load(weights[cell * up * up + part] + tap, exists, 0.0).to(dtype)
                        for chunk in tl.static_range(chunks):
                            updated += (sums[len(updated)] + neighbours[chunk] * weight,)
                    else:
                        for _ in tl.static_range(chunks):
                            updated += (sums[len(updated)],)
            sums = updated
    for cell in tl.static_range(run):
        exists = (y < rows) & (x + cell < columns)
        for part in tl.static_range(up * up):
            place = offset(y * up + part // up, (x + cell) * up + part % up, output_strides[2], output_strides[3])
            for chunk in tl.static_range(chunks):
                tile = sums[(cell * up * up + part) * chunks + chunk]
                mask = exists & (channel + chunk * block < channels)
                tl.store(output + place + distance(chunk * block, output_strides[1]), tile, mask)


@triton.autotune(
    configurations(
        _tile(4, 4, 2, 4, 2, 1),
        _tile(4, 2, 2, 128, 2, 8),
        _tile(4, 4, 2, 64, 1, 4),
        _tile(8, 4, 2, 32, 1, 4),
        _tile(8, 8, 1, 32, 1, 4),
        _tile(2, 32, 1, 2, 6, 4),
        _tile(4, 32, 1, 1, 6, 4),
        _tile(4, 32, 1, 2, 4, 8),
    ),
    key=_KEY,
    prune_configs_by={"early_config_prune": for_memory_format},
    cache_results=True,
)
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])
def _features_gradient(
    gradient,
    kernels,
    output,
    gradient_steps,
    kernels_steps,
    output_steps,
    channels,
    height,
    width,
    rows,
    columns,
    gradient_layout: tl.constexpr,
    kernels_layout: tl.constexpr,
    output_layout: tl.constexpr,
    size: tl.constexpr,
    up: tl.constexpr,
    down: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    run: tl.constexpr,
    block: tl.constexpr,
    chunks: tl.constexpr,
):
    gradient_strides = strides_of(gradient_steps, gradient_layout)
    kernels_strides = strides_of(kernels_steps, kernels_layout)
    output_strides = strides_of(output_steps, output_layout)
    image, y, x = locations(height, tl.cdiv(columns, run), tile_rows, tile_columns, channels_last)
    x *= run
    group, channel = _group_and_channel(channels, block, chunks, channels_last)
    gradient += image * gradient_strides[0] + (group * channels + channel) * gradient_strides[1]
    kernels += image * kernels_strides[0] + group * (size * size) * kernels_strides[1]
    output += image * output_strides[0] + (group * channels + channel) * output_strides[1]
    # Of the taps that reach a source location, every down-th is one of some output; so it is for columns, cell by cell.
    first: tl.constexpr = -(size // 2 // down)
    last: tl.constexpr = (down - 1 + size // 2) // down
    sums = zeros(run * down * chunks, tile_rows * tile_columns, block, channels_last, dtype)
    for step_y in range((size + down - 1) // down):
        row = (y + size // 2) % down + step_y * down
        reader_y = (y + size // 2 - row) // down
        for step in tl.static_range(first, last + run):
            exists = (row < size) & within(reader_y, x + step, rows, columns)
            for part in tl.static_range(up * up):
                part_y = reader_y * up + part // up
                part_x = (x + step) * up + part % up
                reader = gradient + offset(part_y, part_x, gradient_strides[2], gradient_strides[3])
                tiles = _load(reader, exists, channel, channels, gradient_strides[1], block, chunks, dtype)
                weights = kernels + offset(part_y, part_x, kernels_strides[2], kernels_strides[3])
                weights += row.to(tl.int64) * size * kernels_strides[1]
                updated = ()
                for cell in tl.static_range(run):
                    for source in tl.static_range(down):
                        if _is_column(source - (step - cell) * down, size):
                            column = source - (step - cell) * down + size // 2
                            weight = tl.load(weights + distance(column, kernels_strides[1]), exists, 0.0).to(dtype)
                            for chunk in tl.static_range(chunks):
                                updated += (sums[len(updated)] + tiles[chunk] * weight,)
                        else:
                            for _ in tl.static_range(chunks):
                                updated += (sums[len(updated)],)
                sums = updated
    for cell in tl.static_range(run):
        for source in tl.static_range(down):
            source_x = (x + cell) * down + source
            place = offset(y, source_x, output_strides[2], output_strides[3])
            for chunk in tl.static_range(chunks):
                mask = (y < height) & (source_x < width) & (channel + chunk * block < channels)
                tile = sums[(cell * down + source) * chunks + chunk]
                tl.store(output + place + distance(chunk * block, output_strides[1]), tile, mask)


@triton.autotune(
    configurations(
        _pass(4, 8, 2, 1),
        # Left to itself the assembler spills a few registers to have more programs at once.
        _pass(4, 8, 3, 4, registers=240),
        _pass(4, 8, 2, 4),
        _pass(4, 8, 2, 4, stages=2),
        _pass(4, 8, 3, 4, stages=3),
        _pass(4, 32, 3, 4),
        _pass(4, 32, 1, 4),
        _pass(2, 32, 3, 2),
    ),
    key=_KEY,
    prune_configs_by={"early_config_prune": for_memory_format},
    cache_results=True,
)
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])
def _kernels_gradient(
    gradient,
    features,
    output,
    gradient_steps,
    features_steps,
    output_steps,
    channels,
    height,
    width,
    rows,
    columns,
    gradient_layout: tl.constexpr,
    features_layout: tl.constexpr,
    output_layout: tl.constexpr,
    size: tl.constexpr,
    up: tl.constexpr,
    down: tl.constexpr,
    channels_last: tl.constexpr,
    dtype: tl.constexpr,
    vector: tl.constexpr,
    block: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    tap_rows: tl.constexpr,
    stages: tl.constexpr,
):
    gradient_strides = strides_of(gradient_steps, gradient_layout)
    features_strides = strides_of(features_steps, features_layout)
    output_strides = strides_of(output_steps, output_layout)
    image, y, x = locations(rows, columns, tile_rows, tile_columns, channels_last)
    exists = (y < rows) & (x < columns)
    group = tl.program_id(1).to(tl.int64)
    gradient += image * gradient_strides[0] + group * channels * gradient_strides[1]
    features += image * features_strides[0] + group * channels * features_strides[1]
    output += image * output_strides[0] + group * (size * size) * output_strides[1]
    # One pass over the channels per group of tap rows bounds the number of sums in registers. With more than one stage the
    # loads of later channels are begun before, into shared memory.
    for first in tl.static_range(0, size, tap_rows):
        sums = zeros(tap_rows * size * up * up, tile_rows * tile_columns, block // vector, channels_last, dtype)
        for start in tl.range(0, channels, block, num_stages=stages):
            channel = start + channel_numbers(block, channels_last)
            parts = ()
            for part in tl.static_range(up * up):
                place = offset(y * up + part // up, x * up + part % up, gradient_strides[2], gradient_strides[3])
                parts += _load(gradient + place + channel * gradient_strides[1], exists, channel, channels, 0, block, 1, dtype)
            updated = ()
            for tap in tl.static_range(tap_rows * size):
                if first + tap // size < size:
                    source_y = y * down + first + tap // size - size // 2
                    source_x = x * down + tap % size - size // 2
                    source = features + offset(source_y, source_x, features_strides[2], features_strides[3])
                    mask = within(source_y, source_x, height, width) & (channel < channels)
                    neighbour = tl.load(source + channel * features_strides[1], mask, 0.0).to(dtype)
                    for part in tl.static_range(up * up):
                        products = _sum_neighbours(neighbour * parts[part], vector, channels_last)
                        updated += (sums[len(updated)] + products,)
                else:
                    for _ in tl.static_range(up * up):
                        updated += (sums[len(updated)],)
            sums = updated
        for tap in tl.static_range(tap_rows * size):
            if first + tap // size < size:
                for part in tl.static_range(up * up):
                    target = output + distance(first * size + tap, output_strides[1])
                    target += offset(y * up + part // up, x * up + part % up, output_strides[2], output_strides[3])
                    _store_sum(target, sums[tap * up * up + part], exists, channels_last)


@triton.jit
def _group_and_channel(channels, block: tl.constexpr, chunks: tl.constexpr, channels_last: tl.constexpr):
    """Group of this program and, within the group, its first block of channels; axis 1 of the grid counts both."""
    programs = tl.cdiv(channels, block * chunks)
    start = tl.program_id(1) % programs * (block * chunks)
    return (tl.program_id(1) // programs).to(tl.int64), start + channel_numbers(block, channels_last)


@triton.jit
def _load(place, inside, channel, channels, channel_stride, block: tl.constexpr, chunks: tl.constexpr, dtype: tl.constexpr):
    """Read consecutive blocks of channels, zero beyond the border of the map."""
    tiles = ()
    for chunk in tl.static_range(chunks):
        mask = inside & (channel + chunk * block < channels)
        tiles += (tl.load(place + distance(chunk * block, channel_stride), mask, 0.0).to(dtype),)
    return tiles


@triton.jit
def _sum_neighbours(tile, count: tl.constexpr, channels_last: tl.constexpr):
    """Sum each `count` neighbouring channels of a tile: one thread holds them, none exchanges anything with another."""
    if channels_last:
        return tl.sum(tl.reshape(tile, (tile.shape[0], tile.shape[1] // count, count)), 2)
    else:
        return tl.sum(tl.reshape(tile, (tile.shape[0] // count, count, tile.shape[1])), 1)


@triton.jit
def _store_sum(target, tile, exists, channels_last: tl.constexpr):
    """Write the sum of a tile's channels, one value per location.

    One of the threads that then have the sum writes it. Spread over the tile it is where that thread expects it; as a
    column it would have to be exchanged between warps.
    """
    axis: tl.constexpr = 1 if channels_last else 0
    first = channel_numbers(tile.shape[axis], channels_last) == 0
    total = tl.sum(tile, axis, keep_dims=True)
    tl.store(tl.broadcast_to(target, tile.shape), tl.broadcast_to(total, tile.shape), exists & first)


@triton.constexpr_function
def _is_column(shift, size):
    """Whether a kernel reaches so many columns to the right."""
    return -(size // 2) <= shift <= size // 2
