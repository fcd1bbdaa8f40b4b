"""Content-aware reassembly as a sum of shifted maps, one per tap, with the channels last."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.backends import accumulation_dtype


def reassemble(features: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the reassembled map to `output`; the arguments are those of `kernels.reassemble`."""
    weights = _weights(kernels, up, groups, accumulation_dtype(features))
    padded = _padded(features, _size(weights), groups)
    result = padded.new_zeros(*weights.shape[1:-1], padded.shape[-1])
    for source, weight in zip(_taps(padded, weights, down), weights, strict=True):
        result.addcmul_(source, weight)
    output.copy_(_join_by_source(result))


def reassemble_features_gradient(gradient: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the features' gradient (N, C, H, W) to `output`, given the output's (N, C, H_out, W_out)."""
    dtype = accumulation_dtype(gradient)
    weights = _weights(kernels, up, groups, dtype)
    by_source = _split_by_source(gradient.to(dtype), up, groups)
    border = _size(weights) // 2
    height, width = output.shape[2:]
    padded = by_source.new_zeros(output.shape[0], height + 2 * border, width + 2 * border, 1, 1, groups, by_source.shape[-1])
    for target, weight in zip(_taps(padded, weights, down), weights, strict=True):
        target += (by_source * weight).sum(dim=(3, 4), keepdim=True)
    output.copy_(_join_by_source(padded[:, border : border + height, border : border + width]))


def reassemble_kernels_gradient(gradient: Tensor, features: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
    """Write the kernels' gradient (N, groups * k * k, H_out, W_out) to `output`, given the output's (N, C, H_out, W_out)."""
    dtype = accumulation_dtype(features)
    weights = torch.empty_like(_weights(output, up, groups, dtype))
    by_source = _split_by_source(gradient.to(dtype), up, groups).contiguous()
    padded = _padded(features, _size(weights), groups)
    for source, weight in zip(_taps(padded, weights, down), weights, strict=True):
        torch.sum(by_source * source, dim=-1, keepdim=True, out=weight)
    output.copy_(_join_by_source(weights.squeeze(-1).movedim(0, -1)))


def _size(weights: Tensor) -> int:
    return round(len(weights) ** 0.5)


def _split_by_source(tensor: Tensor, up: int, groups: int) -> Tensor:
    """View (N, groups * C, H * up, W * up) as (N, H, W, up, up, groups, C): the outputs of each source location together."""
    batch, channels, height, width = tensor.shape
    split = tensor.reshape(batch, groups, channels // groups, height // up, up, width // up, up)
    return split.permute(0, 3, 5, 4, 6, 1, 2)


def _join_by_source(tensor: Tensor) -> Tensor:
    """Undo `_split_by_source`, giving (N, groups * C, H * up, W * up)."""
    return tensor.permute(0, 5, 6, 1, 3, 2, 4).flatten(1, 2).flatten(2, 3).flatten(3, 4)


def _weights(kernels: Tensor, up: int, groups: int, dtype: torch.dtype) -> Tensor:
    """One weight per tap, output location and group, (taps, N, H, W, up, up, groups, 1)."""
    return _split_by_source(kernels.to(dtype), up, groups).movedim(-1, 0).contiguous().unsqueeze(-1)


def _padded(features: Tensor, size: int, groups: int) -> Tensor:
    """The zero-padded features, (N, H, W, 1, 1, groups, C)."""
    border = size // 2
    by_source = _split_by_source(features.to(accumulation_dtype(features)), 1, groups)
    return F.pad(by_source, (0, 0, 0, 0, 0, 0, 0, 0, border, border, border, border))


def _taps(padded: Tensor, weights: Tensor, down: int) -> Iterator[Tensor]:
    """Yield, tap by tap, the locations that the tap touches, as views (N, height, width, 1, 1, groups, C)."""
    size = _size(weights)
    height, width = weights.shape[2:4]
    for tap in range(size * size):
        top, left = divmod(tap, size)
        rows = slice(top, top + down * (height - 1) + 1, down)
        columns = slice(left, left + down * (width - 1) + 1, down)
        yield padded[:, rows, columns]
