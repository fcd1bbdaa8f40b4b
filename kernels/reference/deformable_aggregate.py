"""Deformable aggregation as a sum over taps of gathered corners."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.backends import accumulation_dtype


def deformable_aggregate(values: Tensor, offsets: Tensor, modulation: Tensor, output: Tensor, offset_scale: float) -> None:
    """Write the aggregated map to `output`; the arguments are those of `kernels.deformable_aggregate`."""
    padded = _padded(values, modulation.shape[1])
    result = padded.new_zeros(*padded.shape[:3], *values.shape[2:])
    for tap, samples in enumerate(_samples(values, offsets, offset_scale)):
        sampled = sum(share * samples.gather(padded, corner) for corner, share in enumerate(samples.shares))
        result += modulation[:, :, tap, None].to(result.dtype) * sampled
    output.copy_(result.flatten(1, 2))


def deformable_aggregate_backward(
    gradient: Tensor,
    values: Tensor,
    offsets: Tensor,
    modulation: Tensor,
    gradients: tuple[Tensor, Tensor, Tensor],
    offset_scale: float,
) -> None:
    """Write the gradients of values, offsets and modulation to `gradients`, given the output's, (N, C, H, W)."""
    values_gradient, offsets_gradient, modulation_gradient = gradients
    padded = _padded(values, modulation.shape[1])
    padded_gradient = torch.zeros_like(padded)
    by_group = gradient.to(padded.dtype).unflatten(1, padded.shape[1:3])
    for tap, samples in enumerate(_samples(values, offsets, offset_scale)):
        weight = modulation[:, :, tap].to(padded.dtype)
        products = [(by_group * samples.gather(padded, corner)).sum(dim=2) for corner in range(4)]
        modulation_gradient[:, :, tap] = sum(
            share[:, :, 0] * product for share, product in zip(samples.shares, products, strict=True)
        )
        for axis, slope in enumerate(samples.slopes(products)):
            offsets_gradient[:, :, tap, axis] = torch.where(samples.inside, offset_scale * weight * slope, 0)
        for corner, share in enumerate(samples.shares):
            samples.scatter(padded_gradient, corner, share * weight[:, :, None] * by_group)
    inner = padded_gradient.unflatten(3, (values.shape[2] + 3, values.shape[3] + 2))[..., 1:-2, 1:-1]
    values_gradient.copy_(inner.flatten(1, 2))


def _padded(values: Tensor, groups: int) -> Tensor:
    """The map with zeros around it, (N, groups, C, (H + 3) * (W + 2)): one row above, two below, a column at each side."""
    padded = F.pad(values.to(accumulation_dtype(values)), (1, 1, 1, 2))
    return padded.unflatten(1, (groups, values.shape[1] // groups)).flatten(3)


@dataclass
class _Samples:
    """Where one tap samples the padded map: the upper left corner's index and the corners' shares, row by row."""

    corner: Tensor
    row_length: int
    right: Tensor
    bottom: Tensor
    inside: Tensor

    @property
    def shares(self) -> list[Tensor]:
        """Bilinear weights of the four corners, (N, groups, 1, H, W) each; zero where the sample is outside."""
        right, bottom = self.right, self.bottom
        shares = (1 - bottom) * (1 - right), (1 - bottom) * right, bottom * (1 - right), bottom * right
        return [torch.where(self.inside, share, 0)[:, :, None] for share in shares]

    def slopes(self, products: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Derivatives by x and y of the sum of the corners' products, weighted by their shares, (N, groups, H, W) each."""
        upper_left, upper_right, lower_left, lower_right = products
        by_x = (1 - self.bottom) * (upper_right - upper_left) + self.bottom * (lower_right - lower_left)
        by_y = (1 - self.right) * (lower_left - upper_left) + self.right * (lower_right - upper_right)
        return by_x, by_y

    def gather(self, padded: Tensor, corner: int) -> Tensor:
        """Read a corner, counted row by row, for all locations, (N, groups, C, H, W)."""
        return padded.gather(3, self._index(padded, corner)).unflatten(3, self.corner.shape[2:])

    def scatter(self, padded: Tensor, corner: int, addends: Tensor) -> None:
        """Add to a corner, counted row by row."""
        padded.scatter_add_(3, self._index(padded, corner), addends.flatten(3))

    def _index(self, padded: Tensor, corner: int) -> Tensor:
        row, column = divmod(corner, 2)
        index = self.corner + row * self.row_length + column
        return index.flatten(2)[:, :, None].expand(-1, -1, padded.shape[2], -1)


def _samples(values: Tensor, offsets: Tensor, offset_scale: float) -> Iterator[_Samples]:
    """Yield where each tap samples."""
    height, width = values.shape[2:]
    dtype = accumulation_dtype(values)
    columns = torch.arange(width, device=values.device, dtype=dtype)
    rows = torch.arange(height, device=values.device, dtype=dtype)[:, None]
    taps = offsets.shape[2]
    size = round(taps**0.5)
    for tap in range(taps):
        i, j = (position - size // 2 for position in divmod(tap, size))
        x = columns + offset_scale * (i + offsets[:, :, tap, 0].to(dtype))
        y = rows + offset_scale * (j + offsets[:, :, tap, 1].to(dtype))
        inside = (x > -1) & (x < width) & (y > -1) & (y < height)
        left, top = (torch.where(inside, coordinate, 0).floor() for coordinate in (x, y))
        # Samples outside the map read the two rows of zeros below it.
        corner = torch.where(inside, (top.long() + 1) * (width + 2) + left.long() + 1, (height + 1) * (width + 2))
        yield _Samples(corner, width + 2, x - left, y - top, inside)
