"""Layers as their definitions read, from a state's tensors: slow forms that the literal necks are written in."""

import torch
import torch.nn.functional as F


def conv(state, name, x, stride=1):
    """W * x (+ b), padded by half the kernel."""
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, weight.shape[-1] // 2)


def linear(state, name, tokens):
    """x W^T (+ b) for tokens (N, T, C)."""
    return torch.einsum("ntc,dc->ntd", tokens, state[f"{name}.weight"]) + state.get(f"{name}.bias", 0)


def norm(state, name, x, groups=None):
    """(x - mean) / sqrt(variance + 1e-5) * weight + bias: running statistics, else those of channel groups; or x itself."""
    if f"{name}.weight" not in state:
        return x
    if f"{name}.running_mean" in state:
        mean, variance = (state[f"{name}.running_{moment}"].view(1, -1, 1, 1) for moment in ("mean", "var"))
        normalised = (x - mean) / (variance + 1e-5).sqrt()
    else:
        grouped = x.reshape(x.shape[0], groups, -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        normalised = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)
    return normalised * state[f"{name}.weight"].view(1, -1, 1, 1) + state[f"{name}.bias"].view(1, -1, 1, 1)


def layer_norm(state, name, tokens):
    """(x - mean) / sqrt(variance + 1e-5) * weight + bias over the channels of tokens (N, T, C)."""
    centred = tokens - tokens.mean(2, keepdim=True)
    variance = centred.square().mean(2, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def sample(x, rows, columns):
    """Bilinear interpolation of x (N, C, H, W) at positions in pixels (N, H', W'): four weighted corners, zero outside."""
    height, width = x.shape[2:]
    top, left = rows.floor(), columns.floor()
    result = 0
    for row, row_weight in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, column_weight in ((left, left + 1 - columns), (left + 1, columns - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            flat = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            corner = x.flatten(2).gather(2, flat.flatten(1)[:, None].expand(-1, x.shape[1], -1)).unflatten(2, flat.shape[1:])
            result = result + (row_weight * column_weight * inside)[:, None] * corner
    return result


def sample_inside(x, rows, columns):
    """The same, with positions outside moved to the border."""
    return sample(x, rows.clamp(0, x.shape[2] - 1), columns.clamp(0, x.shape[3] - 1))


def grid(x, size=None):
    """Row and column numbers (N, H, W) of the pixels of x or of a map of another size."""
    axes = [torch.arange(length, dtype=x.dtype, device=x.device) for length in size or x.shape[2:]]
    return [number.expand(len(x), -1, -1) for number in torch.meshgrid(*axes, indexing="ij")]


def enlarge_bilinear(x, size):
    """Pixel centres keep their relative place (align_corners=False)."""
    rows, columns = (
        (number + 0.5) * old / new - 0.5 for number, old, new in zip(grid(x, size), x.shape[2:], size, strict=True)
    )
    return sample_inside(x, rows, columns)


def enlarge_nearest(x, size):
    """Pixel (i, j) takes pixel (floor(i h / H), floor(j w / W))."""
    rows, columns = ([place * old // new for place in range(new)] for old, new in zip(x.shape[2:], size, strict=True))
    return x[:, :, rows][:, :, :, columns]


def with_subsampled(outputs, num_outs):
    """Every second row and column of the last map as further maps: max-pooling with kernel 1 and stride 2."""
    while len(outputs) < num_outs:
        outputs = [*outputs, outputs[-1][:, :, ::2, ::2]]
    return outputs
