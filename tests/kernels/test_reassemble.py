"""Content-aware reassembly: every backend of this machine against an unfold formulation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from kernels import cpu, reassemble
from kernels.backends import VARIABLE
from kernels.reassemble import _features_gradient, _kernels_gradient, _reassemble

FACTORS = [(2, 1), (1, 2), (1, 1), (3, 1), (1, 3)]
LAYOUTS = ["contiguous", "channels_last", "sliced"]

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(0, 2),
        "channels": st.sampled_from([1, 3, 8, 16, 20]),
        "groups": st.sampled_from([1, 2]),
        "height": st.integers(1, 9),
        "width": st.integers(1, 19),
        "size": st.sampled_from([1, 3, 5, 7]),
        "factors": st.sampled_from(FACTORS),
        "layouts": st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
    }
)


@pytest.fixture(params=["reference", "cpu"], autouse=True)
def backend(request, monkeypatch):
    if request.param == "cpu" and cpu.unavailable_reason("cpu"):
        pytest.skip(cpu.unavailable_reason("cpu"))
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def unfolded(features, kernels, up, down, groups):
    """The definition: gather every neighbourhood, then weigh and sum."""
    batch, channels, height, width = features.shape
    taps = kernels.shape[1] // groups
    size = round(taps**0.5)
    patches = F.unfold(features, size, padding=size // 2).view(batch, groups, channels // groups, taps, height, width)
    patches = patches.repeat_interleave(up, dim=-2).repeat_interleave(up, dim=-1)[..., ::down, ::down]
    return torch.einsum("ngcthw,ngthw->ngchw", patches, kernels.unflatten(1, (groups, taps))).flatten(1, 2)


def laid_out(tensor, layout):
    """The same values in another memory layout; sliced ones are every second row and channel of a larger tensor."""
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        larger = torch.full([2 * length for length in tensor.shape], torch.nan, dtype=tensor.dtype)
        larger[::2, ::2, ::2, ::2] = tensor
        return larger[::2, ::2, ::2, ::2]
    return tensor


def example(
    batch=2, channels=3, height=4, width=5, size=3, factors=(1, 1), groups=1, layouts=("contiguous",) * 2, dtype=torch.float64
):
    up, down = factors
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, groups * channels, height, width, dtype=torch.float64, generator=generator)
    out = (-(-height * up // down), -(-width * up // down))
    kernels = torch.randn(batch, groups * size * size, *out, dtype=torch.float64, generator=generator)
    features, kernels = (
        laid_out(tensor.to(dtype), layout) for tensor, layout in zip((features, kernels), layouts, strict=True)
    )
    return features, kernels, up, down, groups


@settings(max_examples=150)
@given(shapes)
def test_equals_the_unfold_formulation_in_values_and_gradients(shape):
    features, kernels, *factors = example(**shape)
    if shape["batch"] == 0:
        output = reassemble(features.requires_grad_(), kernels.requires_grad_(), *factors)
        output.sum().backward()
        assert output.shape[0] == 0
        assert features.grad.shape == features.shape
        return
    results = []
    for function in (reassemble, unfolded):
        inputs = features.detach().requires_grad_(), kernels.detach().requires_grad_()
        output = function(*inputs, *factors)
        results.append((output, *torch.autograd.grad(output.sin().sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_of_many_tiles_in_float32(factors, layout):
    features, kernels, *factors = example(1, 72, 23, 150, 5, factors, layouts=(layout, "channels_last"), dtype=torch.float32)
    inputs = features.requires_grad_(), kernels.requires_grad_()
    ours, theirs = reassemble(*inputs, *factors), unfolded(*inputs, *factors)
    gradient = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, gradient), torch.autograd.grad(theirs, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("factors", FACTORS[:3])
@pytest.mark.parametrize("groups", [1, 2])
def test_first_and_second_derivatives(factors, groups):
    features, kernels, *factors = example(1, 2, 3, 3, 3, factors, groups)
    inputs = features.requires_grad_(), kernels.requires_grad_()
    assert torch.autograd.gradcheck(lambda f, k: reassemble(f, k, *factors), inputs)
    assert torch.autograd.gradgradcheck(lambda f, k: reassemble(f, k, *factors), inputs)


@pytest.mark.parametrize("factors", FACTORS[:3])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_passes_the_operator_checks_of_torch(factors, layout):
    features, kernels, up, down, groups = example(2, 16, 5, 4, 3, factors, layouts=(layout, layout))
    gradient = torch.randn(2, 16, *kernels.shape[2:], dtype=torch.float64)
    features, kernels, gradient = (tensor.requires_grad_() for tensor in (features, kernels, gradient))
    torch.library.opcheck(_reassemble, (features, kernels, up, down, groups))
    torch.library.opcheck(_features_gradient, (gradient, kernels, 5, 4, up, down, groups))
    torch.library.opcheck(_kernels_gradient, (gradient, features, 3, up, down, groups))


def test_is_one_node_of_a_compiled_graph():
    features, kernels, *factors = example(factors=(2, 1))
    compiled = torch.compile(lambda f, k: reassemble(f.sin(), k, *factors).cos(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, kernels), reassemble(features.sin(), kernels, *factors).cos())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_is_accumulated_in_float32(dtype, layout):
    features, kernels, *factors = example(1, 24, 6, 6, 5, (2, 1), layouts=(layout, layout), dtype=dtype)
    kernels = kernels.softmax(1)
    inputs = features.requires_grad_(), kernels.requires_grad_()
    output = reassemble(*inputs, *factors)
    assert output.dtype == dtype
    exact = [tensor.detach().float().requires_grad_() for tensor in inputs]
    reference = unfolded(*exact, *factors)
    torch.testing.assert_close(output, reference.to(dtype))
    gradient = torch.randn_like(output)
    ours = torch.autograd.grad(output, inputs, gradient)
    theirs = torch.autograd.grad(reference, exact, gradient.float())
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.to(dtype))


def test_kernels_may_have_another_dtype_than_features():
    features, kernels, *factors = example(1, 4, 6, 6, 5, (2, 1), dtype=torch.float32)
    features.requires_grad_(), kernels.requires_grad_()
    output = reassemble(features.bfloat16(), kernels, *factors)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert (features.grad.dtype, kernels.grad.dtype) == (torch.float32, torch.float32)


def test_autocast_casts_the_features_and_leaves_the_kernels():
    features, kernels, *factors = example(1, 4, 6, 6, 5, (2, 1), dtype=torch.float32)
    features.requires_grad_(), kernels.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = reassemble(features, kernels, *factors)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, reassemble(features.bfloat16(), kernels, *factors))
    output.float().sum().backward()
    assert (features.grad.dtype, kernels.grad.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_the_result_has_the_memory_format_of_the_features(layout):
    features, kernels, *factors = example(2, 16, 5, 7, 5, (2, 1), layouts=(layout, "contiguous"))
    features.requires_grad_()
    output = reassemble(features, kernels, *factors)
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert output.is_contiguous(memory_format=memory_format)
    assert torch.autograd.grad(output, features, output)[0].is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("factors", FACTORS[:3])
def test_nan_and_infinity_reach_exactly_what_reads_them(value, factors):
    features, kernels, *factors = example(1, 16, 9, 9, 3, factors)
    features[0, 2, 4, 4] = value
    kernels[0, 0, 0, 0] = value
    ours, theirs = reassemble(features, kernels, *factors), unfolded(features, kernels, *factors)
    assert theirs.isfinite().any()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0)])
@pytest.mark.parametrize("factors", FACTORS[:2])
def test_a_map_without_locations_gives_one(height, width, factors):
    features, kernels, *factors = example(1, 4, height, width, 3, factors)
    reassemble(features.requires_grad_(), kernels.requires_grad_(), *factors).sum().backward()
    assert features.grad.shape == features.shape


def test_kernels_that_no_channel_uses_have_a_gradient_of_zero():
    kernels = torch.randn(1, 9, 4, 4, requires_grad=True)
    reassemble(torch.zeros(1, 0, 4, 4), kernels).sum().backward()
    assert not kernels.grad.any()


@pytest.mark.parametrize("down", [8, 2**40])
def test_a_factor_beyond_the_size_of_the_map_gives_one_location(down):
    features, kernels = torch.randn(1, 16, 3, 5), torch.randn(1, 25, 1, 1)
    output = reassemble(features, kernels, down=down)
    torch.testing.assert_close(output, unfolded(features, kernels, 1, 8, 1), rtol=1e-5, atol=1e-5)


def test_flops_are_counted_also_on_the_meta_device():
    features, kernels = torch.empty(2, 8, 4, 4, device="meta"), torch.empty(2, 50, 8, 8, device="meta")
    with FlopCounterMode(display=False) as counter:
        assert reassemble(features, kernels, up=2, groups=2).shape == (2, 8, 8, 8)
    assert counter.get_total_flops() == 2 * 2 * 8 * 25 * 8 * 8


def test_the_backward_pass_costs_twice_the_forward_pass():
    features, kernels, *factors = example(1, 4, 4, 4, 5, (2, 1))
    output = reassemble(features.requires_grad_(), kernels.requires_grad_(), *factors)
    with FlopCounterMode(display=False) as counter:
        output.sum().backward()
    assert counter.get_total_flops() == 2 * (2 * 4 * 25 * 8 * 8)


@pytest.mark.parametrize(
    ("features", "kernels", "factors", "message"),
    [
        ((1, 4, 6, 6), (1, 25, 6, 6), {"up": 2}, "need kernels of batch and size"),
        ((1, 4, 6, 6), (2, 25, 12, 12), {"up": 2}, "need kernels of batch and size"),
        ((1, 4, 6, 6), (1, 16, 6, 6), {}, "square of an odd number"),
        ((1, 4, 6, 6), (1, 24, 6, 6), {}, "square of an odd number"),
        ((1, 4, 6, 6), (1, 25, 6, 6), {"up": 2, "down": 2}, "not both above 1"),
        ((4, 6, 6), (1, 25, 6, 6), {}, "two 4-D tensors"),
        ((1, 4, 6, 6), (1, 50, 6, 6), {"groups": 3}, "groups must divide the 4 channels and the 50 kernel weights"),
    ],
)
def test_wrong_arguments_are_named(features, kernels, factors, message):
    with pytest.raises(ValueError, match=message):
        reassemble(torch.zeros(features), torch.zeros(kernels), **factors)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"expected floating-point tensors, got torch\.int64"):
        reassemble(torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, 1, 2, 2))
