"""Deformable aggregation: every backend of this machine against explicit corners, grid_sample, and mmcv's DCNv2."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import modulated_deform_conv2d
from torch.utils.flop_counter import FlopCounterMode

from kernels import cpu, deformable_aggregate
from kernels.backends import VARIABLE
from kernels.deformable_aggregate import _deformable_aggregate

LAYOUTS = ["contiguous", "channels_last", "joined"]

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(0, 2),
        "channels": st.sampled_from([1, 3, 4, 8, 16, 20]),
        "groups": st.sampled_from([1, 2, 3]),
        "height": st.integers(1, 5),
        "width": st.sampled_from([1, 2, 5, 33]),
        "size": st.sampled_from([1, 3, 5]),
        "layout": st.sampled_from(LAYOUTS),
        "reach": st.sampled_from([0.3, 3.0]),
    }
)


@pytest.fixture(params=["reference", "cpu"], autouse=True)
def backend(request, monkeypatch):
    if request.param == "cpu" and cpu.unavailable_reason("cpu"):
        pytest.skip(cpu.unavailable_reason("cpu"))
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def example(batch=1, channels=4, groups=2, height=4, width=5, size=3, layout="contiguous", reach=1.0, dtype=torch.float64):
    """Values, offsets and modulation; joined ones are slices of one channels-last map, as a projection would give them."""
    generator = torch.Generator().manual_seed(0)
    taps = size * size
    values = torch.randn(batch, groups * channels, height, width, dtype=torch.float64, generator=generator)
    both = torch.randn(batch, groups * 3 * taps, height, width, dtype=torch.float64, generator=generator)
    both.unflatten(1, (groups, -1))[:, :, : 2 * taps] *= reach
    values, both = values.to(dtype), both.to(dtype)
    if layout != "contiguous":
        values = values.contiguous(memory_format=torch.channels_last)
        both = both.contiguous(memory_format=torch.channels_last)
    both = both.unflatten(1, (groups, 3 * taps))
    offsets, modulation = both[:, :, : 2 * taps].unflatten(2, (taps, 2)), both[:, :, 2 * taps :]
    return (values, offsets, modulation) if layout == "joined" else (values, offsets.clone(), modulation.clone())


def sampled_by_corners(values, offsets, modulation, scale):
    """The definition, written with one-hot corner weights: (1 - |x - i|)+ (1 - |y - j|)+ for every pixel (i, j)."""
    batch, channels, height, width = values.shape
    groups, taps = modulation.shape[1:3]
    size = math.isqrt(taps)
    columns, rows = torch.arange(width, dtype=values.dtype), torch.arange(height, dtype=values.dtype)
    result = 0
    for tap in range(taps):
        x = columns + scale * (tap // size - size // 2 + offsets[:, :, tap, 0])
        y = rows[:, None] + scale * (tap % size - size // 2 + offsets[:, :, tap, 1])
        by_column = (1 - (x[..., None] - columns).abs()).clamp(min=0)
        by_row = (1 - (y[..., None] - rows).abs()).clamp(min=0)
        grouped = values.view(batch, groups, channels // groups, height, width)
        sample = torch.einsum("ngyxj,ngyxi,ngcji->ngcyx", by_row, by_column, grouped)
        result = result + modulation[:, :, tap, None] * sample
    return result.flatten(1, 2)


def sampled_by_grid_sample(values, offsets, modulation, scale):
    batch, channels, height, width = values.shape
    groups, taps = modulation.shape[1:3]
    size = math.isqrt(taps)
    columns, rows = torch.arange(width, dtype=values.dtype), torch.arange(height, dtype=values.dtype)
    maps = values.reshape(batch * groups, channels // groups, height, width)
    result = 0
    for tap in range(taps):
        x = columns + scale * (tap // size - size // 2 + offsets[:, :, tap, 0])
        y = rows[:, None] + scale * (tap % size - size // 2 + offsets[:, :, tap, 1])
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).flatten(0, 1)
        result = result + modulation[:, :, tap].reshape(-1, 1, height, width) * F.grid_sample(maps, grid, align_corners=False)
    return result.view(batch, channels, height, width)


def results_and_gradients(function, inputs, scale):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*inputs, scale)
    return output, *torch.autograd.grad(output.sin().sum(), inputs)


@settings(max_examples=150)
@given(shapes, st.sampled_from([0.5, 1.0, 2.0]))
def test_equals_explicit_corners_in_values_and_gradients(shape, scale):
    inputs = example(**shape)
    if shape["batch"] == 0:
        output = deformable_aggregate(*(tensor.detach().requires_grad_() for tensor in inputs), scale)
        output.sum().backward()
        assert output.shape == inputs[0].shape
        return
    ours = results_and_gradients(deformable_aggregate, inputs, scale)
    theirs = results_and_gradients(sampled_by_corners, inputs, scale)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_equals_grid_sample_on_a_larger_map_in_float32(scale):
    inputs = example(2, 16, 2, 19, 70, reach=1.5, layout="joined", dtype=torch.float32)
    ours = results_and_gradients(deformable_aggregate, inputs, scale)
    theirs = results_and_gradients(sampled_by_grid_sample, inputs, scale)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_equals_mmcvs_modulated_deformable_convolution_with_weights_of_one(scale):
    values, offsets, modulation = example(2, 4, 2, 6, 9)
    channels, groups = values.shape[1], modulation.shape[1]
    dilation = max(1, round(scale))
    row_major = [3 * i + j for j in range(3) for i in range(3)]
    grid = torch.tensor([(tap // 3 - 1, tap % 3 - 1) for tap in range(9)], dtype=values.dtype)[:, :, None, None]
    shifted = (scale * offsets + (scale - dilation) * grid)[:, :, row_major].flip(3)

    def theirs(values, shifted, mask):
        weight = values.new_ones(channels, 1, 3, 3)
        return modulated_deform_conv2d(
            values, shifted.flatten(1, 3), mask.flatten(1, 2), weight, None, 1, dilation, dilation, channels, groups
        )

    torch.testing.assert_close(
        deformable_aggregate(values, offsets, modulation, scale), theirs(values, shifted, modulation[:, :, row_major])
    )


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_gradcheck(scale):
    inputs = [tensor.requires_grad_() for tensor in example(1, 2, 2, 3, 4)]
    assert torch.autograd.gradcheck(lambda *tensors: deformable_aggregate(*tensors, scale), inputs)


def test_second_derivatives_are_refused():
    inputs = [tensor.requires_grad_() for tensor in example()]
    (gradient,) = torch.autograd.grad(deformable_aggregate(*inputs).sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives are not available"):
        gradient.sum().backward()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_passes_the_operator_checks_of_torch(layout):
    inputs = [tensor.detach().requires_grad_() for tensor in example(layout=layout)]
    torch.library.opcheck(_deformable_aggregate, (*inputs, 2.0))


def test_without_offsets_and_with_weights_of_one_it_sums_the_neighbourhood():
    values, offsets, modulation = example(1, 2, 2, 5, 6)
    result = deformable_aggregate(values, torch.zeros_like(offsets), torch.ones_like(modulation))
    torch.testing.assert_close(result, 9 * F.avg_pool2d(values, 3, stride=1, padding=1))


def test_taps_go_column_by_column_and_x_comes_first():
    values = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    values[0, 0, 2, 4] = 1.0
    offsets = torch.zeros(1, 1, 9, 2, 5, 5, dtype=torch.float64)
    modulation = torch.zeros(1, 1, 9, 5, 5, dtype=torch.float64)
    modulation[:, :, 7] = 1.0
    assert deformable_aggregate(values, offsets, modulation)[0, 0, 2, 3] == 1.0
    offsets[:, :, :, 0] = 1.0
    assert deformable_aggregate(values, offsets, modulation)[0, 0, 2, 2] == 1.0


def test_what_lies_outside_is_zero_and_moves_nothing():
    values, offsets, modulation = example(1, 2, 1, 3, 3)
    inputs = [tensor.detach().requires_grad_() for tensor in (values, torch.full_like(offsets, 1e30), modulation)]
    output = deformable_aggregate(*inputs)
    output.sum().backward()
    assert not output.any()
    assert not any(tensor.grad.any() for tensor in inputs)


def test_nan_reaches_exactly_what_reads_it():
    values, offsets, modulation = example(1, 16, 1, 9, 9, reach=0.3)
    values[0, 3, 4, 4] = torch.nan
    modulation[0, 0, 0, 0, 0] = torch.nan
    ours = deformable_aggregate(values, offsets, modulation).isnan()
    assert ours[0, :, 0, 0].all()
    assert ours[0, 3, 4, 4]
    ours[0, :, 0, 0] = False
    assert not ours[0, [c for c in range(16) if c != 3]].any()
    assert not ours[0, 3, :2].any()
    assert not ours[0, 3, :, 7:].any()


def test_infinite_modulation_gives_infinity_at_whole_coordinates():
    values, offsets, modulation = torch.ones(1, 16, 3, 3), torch.zeros(1, 1, 9, 2, 3, 3), torch.ones(1, 1, 9, 3, 3)
    modulation[0, 0, 4, 1, 1] = torch.inf
    output = deformable_aggregate(values, offsets, modulation)
    assert output[0, :, 1, 1].isinf().all()
    assert output.isinf().sum() == 16
    assert not output.isnan().any()


def test_coordinates_that_are_no_numbers_lie_outside():
    values, offsets, modulation = example(1, 2, 1, 3, 3)
    assert not deformable_aggregate(values, torch.full_like(offsets, torch.nan), modulation).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_is_accumulated_in_float32(dtype, layout):
    inputs = example(1, 16, 2, 5, 7, layout=layout, reach=0.7, dtype=dtype)
    output = deformable_aggregate(*inputs)
    assert output.dtype == dtype
    reference = sampled_by_corners(*(tensor.float() for tensor in inputs), 1.0)
    torch.testing.assert_close(output.float(), reference, rtol=2e-2, atol=2e-2)


def test_autocast_casts_the_values_and_leaves_the_coordinates():
    inputs = [tensor.detach().requires_grad_() for tensor in example(1, 8, 2, 5, 7, dtype=torch.float32)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = deformable_aggregate(*inputs)
    assert torch.equal(output, deformable_aggregate(inputs[0].bfloat16(), *inputs[1:]))
    output.float().sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in inputs)


def test_flops_are_counted_also_on_the_meta_device():
    values, offsets, modulation = (tensor.to("meta") for tensor in example(2, 4, 2, 5, 6))
    with FlopCounterMode(display=False) as counter:
        assert deformable_aggregate(values, offsets, modulation).shape == (2, 8, 5, 6)
    assert counter.get_total_flops() == 2 * 4 * 9 * 2 * 8 * 5 * 6


@pytest.mark.parametrize(
    ("values", "offsets", "modulation", "message"),
    [
        ((1, 4, 5, 6), (1, 2, 9, 2, 5, 6), (1, 2, 9, 5, 7), "need offsets"),
        ((1, 4, 5, 6), (1, 2, 9, 5, 6, 2), (1, 2, 9, 5, 6), "need offsets"),
        ((1, 5, 5, 6), (1, 2, 9, 2, 5, 6), (1, 2, 9, 5, 6), "must divide the 5 channels, got 2"),
        ((1, 4, 5, 6), (1, 2, 8, 2, 5, 6), (1, 2, 8, 5, 6), "square of an odd number, got 8"),
        ((4, 5, 6), (1, 2, 9, 2, 5, 6), (1, 2, 9, 5, 6), "expected values"),
    ],
)
def test_wrong_arguments_are_named(values, offsets, modulation, message):
    with pytest.raises(ValueError, match=message):
        deformable_aggregate(torch.zeros(values), torch.zeros(offsets), torch.zeros(modulation))
