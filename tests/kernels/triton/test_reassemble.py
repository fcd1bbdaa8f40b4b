"""Reassembly by Triton kernels against the reference backend."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels import reassemble

pytestmark = pytest.mark.long

shapes = st.fixed_dictionaries(
    {
        "batch": st.just(1),
        "groups": st.integers(1, 2),
        "channels": st.integers(1, 5),
        "height": st.integers(1, 9),
        "width": st.integers(1, 11),
        "size": st.sampled_from([1, 3]),
        "factors": st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 3)]),
        "layout": st.sampled_from(["channels_last", "contiguous", "strided"]),
    }
)


def lay_out(tensor, layout):
    """The same values at other places in memory."""
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor if layout == "contiguous" else tensor.transpose(0, 3).repeat_interleave(2, 0)[::2].transpose(0, 3)


def example(device, batch=2, groups=1, channels=3, height=5, width=6, size=3, factors=(2, 1), layout="contiguous"):
    up, down = factors
    generator = torch.Generator().manual_seed(0)
    out = (-(-height * up // down), -(-width * up // down))
    shapes = [
        (batch, groups * channels, height, width),
        (batch, groups * size * size, *out),
        (batch, groups * channels, *out),
    ]
    tensors = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return [lay_out(tensor, layout).to(device) for tensor in tensors]


def forward_and_gradients(features, kernels, gradient, factors, groups):
    inputs = features.detach().requires_grad_(), kernels.detach().requires_grad_()
    output = reassemble(*inputs, *factors, groups)
    return output, *torch.autograd.grad(output, inputs, gradient.to(output.dtype))


def compare(on_both_backends, tensors, factors=(2, 1), groups=1, **tolerance):
    ours, reference = on_both_backends(lambda: forward_and_gradients(*tensors, factors, groups))
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one, other, check_stride=True, equal_nan=True, **tolerance)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(shapes)
def test_equals_the_reference_in_values_and_gradients(device, on_both_backends, shape):
    compare(on_both_backends, example(device, **shape), shape["factors"], shape["groups"], rtol=1e-12, atol=1e-12)


def test_upsampling_by_three(device, on_both_backends):
    compare(on_both_backends, example(device, batch=1, size=1, factors=(3, 1)), (3, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factors", [pytest.param((2, 1), marks=pytest.mark.slow), (1, 2)])
def test_five_by_five_taps(device, on_both_backends, factors):
    compare(on_both_backends, example(device, batch=1, size=5, factors=factors), factors, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factors", [(2, 1), (1, 2)])
def test_several_tiles_and_blocks_of_channels(device, on_both_backends, factors):
    tensors = example(device, batch=1, channels=11, height=10, width=18, size=1, factors=factors, layout="channels_last")
    compare(on_both_backends, tensors, factors, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("features", "kernels"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32),
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
    ],
)
def test_dtypes(device, on_both_backends, features, kernels):
    tensors = example(device, size=1, layout="channels_last")
    compare(on_both_backends, [tensors[0].to(features), tensors[1].to(kernels), tensors[2].to(features)])


def test_second_derivatives(device, on_both_backends):
    def second():
        tensors = example(device, batch=1, factors=(1, 2))
        features, kernels, gradient = (tensor.requires_grad_() for tensor in tensors)
        inputs = (features, kernels, gradient)
        first = torch.autograd.grad(reassemble(features, kernels, down=2), inputs[:2], gradient, create_graph=True)
        return torch.autograd.grad(sum(value.sin().sum() for value in first), inputs)

    for one, other in zip(*on_both_backends(second), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_empty_batch(device, on_both_backends):
    compare(on_both_backends, example(device, batch=0))


@pytest.mark.parametrize("factors", [(2, 1), (1, 2)])
@pytest.mark.parametrize("position", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_nan_reaches_what_it_reaches_in_the_reference(device, on_both_backends, factors, position):
    tensors = example(device, batch=1, factors=factors, layout="channels_last")
    tensors[position][0, 1, 0, 1] = torch.nan
    compare(on_both_backends, tensors, factors, rtol=1e-12, atol=1e-12)


def test_is_the_same_bit_for_bit_every_time(device, monkeypatch):
    monkeypatch.setenv("FEATURE_PYRAMIDS_BACKEND", "triton")
    tensors = [tensor.float() for tensor in example(device, batch=1, channels=5, size=1, layout="channels_last")]
    first, second = (forward_and_gradients(*tensors, (2, 1), 1) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
