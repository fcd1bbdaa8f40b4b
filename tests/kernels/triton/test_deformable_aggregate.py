"""Deformable aggregation by Triton kernels against the reference backend."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels import deformable_aggregate

pytestmark = pytest.mark.long

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 2),
        "groups": st.integers(1, 2),
        "channels": st.integers(1, 5),
        "height": st.integers(1, 9),
        "width": st.integers(1, 11),
        "size": st.sampled_from([1, 3]),
        "spread": st.sampled_from([0.0, 0.7, 3.0, 30.0]),
        "channels_last": st.booleans(),
    }
)


def example(device, batch=1, groups=2, channels=3, height=5, width=6, size=3, spread=1.0, channels_last=True):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    values, gradient = (
        random(batch, groups * channels, height, width).contiguous(memory_format=memory_format) for _ in range(2)
    )
    offsets = spread * random(batch, groups, size * size, 2, height, width)
    modulation = random(batch, groups, size * size, height, width)
    return [tensor.to(device) for tensor in (values, offsets, modulation, gradient)]


def forward_and_gradients(values, offsets, modulation, gradient, offset_scale):
    inputs = [tensor.detach().requires_grad_() for tensor in (values, offsets, modulation)]
    output = deformable_aggregate(*inputs, offset_scale)
    return output, *torch.autograd.grad(output, inputs, gradient)


def compare(on_both_backends, tensors, offset_scale=1.0, **tolerance):
    ours, reference = on_both_backends(lambda: forward_and_gradients(*tensors, offset_scale))
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one, other, check_stride=True, equal_nan=True, **tolerance)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(shapes, st.sampled_from([1.0, 0.37, 2.0]))
def test_equals_the_reference_in_values_and_gradients(device, on_both_backends, shape, offset_scale):
    compare(on_both_backends, example(device, **shape), offset_scale, rtol=1e-12, atol=1e-12)


def test_five_by_five_taps(device, on_both_backends):
    compare(on_both_backends, example(device, groups=1, size=5, height=2, width=3), rtol=1e-12, atol=1e-12)


def test_several_tiles_and_blocks_of_channels(device, on_both_backends):
    compare(on_both_backends, example(device, channels=70, groups=1, height=9, width=3, size=1), rtol=1e-12, atol=1e-11)


def test_tensors_of_any_stride(device, on_both_backends):
    values, offsets, modulation, gradient = example(device)
    offsets = offsets.permute(0, 4, 5, 1, 2, 3).contiguous().permute(0, 3, 4, 5, 1, 2)
    modulation = modulation.repeat_interleave(2, 4)[..., ::2]
    gradient = gradient[:, :1].expand_as(gradient)
    compare(on_both_backends, [values.transpose(2, 3).contiguous().transpose(2, 3), offsets, modulation, gradient])


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_dtypes(device, on_both_backends, values, others):
    tensors = example(device, groups=1, height=4, width=4)
    dtypes = (values, others, others, values)
    compare(on_both_backends, [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)])


def test_samples_on_and_beyond_the_border(device, on_both_backends):
    values, offsets, modulation, gradient = example(device, size=1, groups=1, height=1, width=10)
    positions = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 8.5, 9.0, 9.5, 10.0, 1e30], dtype=torch.float64)
    offsets[0, 0, 0, 0, 0] = positions - torch.arange(10)
    offsets[0, 0, 0, 1] = 0.25
    compare(on_both_backends, [values, offsets, modulation, gradient], rtol=1e-12, atol=1e-12)


def test_all_samples_at_one_pixel(device, on_both_backends):
    values, offsets, modulation, gradient = example(device, groups=1, size=1)
    rows, columns = torch.arange(5.0, dtype=torch.float64)[:, None], torch.arange(6.0, dtype=torch.float64)
    offsets[:, :, :, 0] = 2.25 - columns
    offsets[:, :, :, 1] = 3.5 - rows
    compare(on_both_backends, [values, offsets, modulation, gradient], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("position", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [torch.nan, pytest.param(torch.inf, marks=pytest.mark.slow)])
def test_what_is_not_finite_reaches_what_it_reaches_in_the_reference(device, on_both_backends, position, value):
    tensors = example(device)
    tensors[position].select(1, 1).select(1, 1)[..., 2] = value
    compare(on_both_backends, tensors, rtol=1e-12, atol=1e-12)


def test_empty_batch(device, on_both_backends):
    compare(on_both_backends, example(device, batch=0))


def test_is_the_same_bit_for_bit_every_time(device, monkeypatch):
    monkeypatch.setenv("FEATURE_PYRAMIDS_BACKEND", "triton")
    tensors = [tensor.float() for tensor in example(device, channels=16, groups=1, height=4, width=4, spread=2.0)]
    first, second = (forward_and_gradients(*tensors, 1.0) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
