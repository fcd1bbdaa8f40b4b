"""The operator of FaPN's alignment: its equation, mmcv's function, what torch asks of an operator, precision, cost."""

import pytest
import torch
from mmcv.ops import modulated_deform_conv2d
from torch.utils.flop_counter import FlopCounterMode

from kernels.cpu import deform_columns
from kernels.modulated_deform_conv import modulated_deform_conv
from tests.necks import equations_fapn


def arguments(dtype, groups=2, size=3, shape=(2, 4, 7, 6), width=5):
    """Features, offsets of up to several pixels, modulation, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    batch, channels, *space = shape
    taps = groups * size**2
    shapes = [shape, (batch, 2 * taps, *space), (batch, taps, *space), (width, channels, size, size), (width,)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    tensors[1] *= 2
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


@pytest.fixture
def without_library(monkeypatch):
    """As where the C++ operators are not built: mmcv's computes."""
    monkeypatch.setattr("kernels.modulated_deform_conv._reason_not_to", lambda _: "not built")


def outputs_and_gradients(function, tensors):
    output = function(*tensors)
    return [output, *torch.autograd.grad(output.sin().sum(), tensors)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_computes_what_the_equation_says(groups, size):
    tensors = arguments(torch.float64, groups, size)
    ours = outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, groups), tensors)
    literal = outputs_and_gradients(equations_fapn.modulated_deform_conv, tensors)
    torch.testing.assert_close(ours, literal, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3])
def test_without_the_library_mmcvs_operator_computes_the_same(size, without_library):
    test_computes_what_the_equation_says(2, size)


@pytest.mark.parametrize("distance", [1e-9, -1e-9, 0.0])
def test_a_position_next_to_a_whole_number_has_the_slope_on_its_side(distance):
    features, offsets, *others = arguments(torch.float64, size=1)
    tensors = [features, torch.full_like(offsets, distance).requires_grad_(), *others]
    ours = outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)
    literal = outputs_and_gradients(equations_fapn.modulated_deform_conv, tensors)
    torch.testing.assert_close(ours, literal, rtol=1e-10, atol=1e-10)


def test_places_far_outside_and_no_numbers_give_zeros_and_no_gradient():
    features, offsets, modulation, weight, bias = arguments(torch.float64)
    for place in (1e30, -1e30, float("inf"), float("nan")):
        moved = torch.full_like(offsets, place).requires_grad_()
        output = modulated_deform_conv(features, moved, modulation, weight, bias, 2)
        torch.testing.assert_close(output, bias[:, None, None].expand_as(output))
        of_features, of_offsets = torch.autograd.grad(output.sum(), [features, moved])
        assert not of_features.any()
        assert not of_offsets.any()


def test_gradients_are_the_same_bit_for_bit_for_any_number_of_threads():
    tensors, threads, found = arguments(torch.float32, shape=(2, 8, 19, 23)), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)[1:4])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


@pytest.mark.parametrize("distance", [1e-9, -1e-9])
def test_mmcvs_operator_gives_in_float64_a_position_next_to_a_whole_number_the_slope_beyond_it(distance, without_library):
    features, offsets, *others = arguments(torch.float64, size=1)
    offsets = torch.full_like(offsets, distance).requires_grad_()
    inner = (..., slice(1, -1), slice(1, -1))  # of a map: outside of it there is no cell beyond

    def computed(function, offsets):
        output = function(features, offsets, *others)
        return output[inner], torch.autograd.grad(output.sum(), offsets)[0][inner]

    values, slopes = computed(lambda *tensors: modulated_deform_conv(*tensors, 2), offsets)
    literal, _ = computed(equations_fapn.modulated_deform_conv, offsets)
    _, beyond = computed(equations_fapn.modulated_deform_conv, torch.full_like(offsets, 1e-9).requires_grad_())
    torch.testing.assert_close(values, literal, rtol=0, atol=1e-7)
    torch.testing.assert_close(slopes, beyond, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("size", "width"), [(3, 5), (3, 96)])
def test_equals_mmcvs_function(size, width):
    tensors = arguments(torch.float32, size=size, width=width)

    def theirs(features, offsets, modulation, weight, bias):
        return modulated_deform_conv2d(features, offsets, modulation, weight, bias, 1, 1, 1, 1, 2)

    ours = outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)
    torch.testing.assert_close(ours, outputs_and_gradients(theirs, tensors), rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    tensors = arguments(torch.float64, shape=(1, 2, 3, 4), width=2)
    assert torch.autograd.gradcheck(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)


def test_second_derivatives_are_refused():
    inputs = arguments(torch.float64)
    (gradient,) = torch.autograd.grad(modulated_deform_conv(*inputs, 2).sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="modulated_deform_conv: second derivatives are not available"):
        gradient.sum().backward()


def test_keeps_torchs_rules_for_operators():
    torch.library.opcheck(torch.ops.feature_pyramids.modulated_deform_conv, (*arguments(torch.float32), 2))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_takes_any_memory_format_and_gives_contiguous_maps(memory_format):
    tensors = arguments(torch.float64)
    features = tensors[0].detach().to(memory_format=memory_format)
    output = modulated_deform_conv(features, *tensors[1:], 2)
    assert output.is_contiguous()
    torch.testing.assert_close(output, modulated_deform_conv(*tensors, 2), rtol=0, atol=0)


def test_bfloat16_is_computed_in_single_precision():
    rounded = [tensor.detach().bfloat16() for tensor in arguments(torch.float64)]
    exact = modulated_deform_conv(*(tensor.float() for tensor in rounded), 2)
    torch.testing.assert_close(modulated_deform_conv(*rounded, 2), exact.bfloat16(), rtol=0, atol=0)


def test_shape_and_cost_are_known_without_computing():
    tensors = [tensor.detach().to("meta") for tensor in arguments(torch.float32)]
    with FlopCounterMode(display=False) as counter:
        output = torch.ops.feature_pyramids.modulated_deform_conv(*tensors, 2)
    assert output.shape == (2, 5, 7, 6)
    convolution, samples = 5 * 4 * 9, 4 * 9 * 4
    assert counter.get_total_flops() == 2 * 2 * 7 * 6 * (convolution + samples)


def test_under_autocast_forward_and_backward_are_computed_in_the_features_dtype():
    tensors = arguments(torch.float32)
    plain = outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = outputs_and_gradients(lambda *tensors: modulated_deform_conv(*tensors, 2), tensors)
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@pytest.mark.parametrize("wrong", range(4))
def test_tensors_that_do_not_fit_are_refused_by_the_operator(wrong):
    maps = [torch.zeros(1, 3, 4, 2), torch.zeros(1, 18, 3, 4), torch.zeros(1, 9, 3, 4), torch.zeros(1, 12, 9, 2)]
    deform_columns(*maps, 1)
    for other in (maps[wrong].bfloat16(), maps[wrong][..., :1], maps[wrong].transpose(2, 3)):
        with pytest.raises(RuntimeError, match="deform_columns"):
            deform_columns(*maps[:wrong], other, *maps[wrong + 1 :], 1)
