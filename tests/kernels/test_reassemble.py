"""Content-aware reassembly against an unfold formulation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kernels import reassemble
from kernels.reassemble import _reassemble, _reassemble_backward

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(0, 2),
        "channels": st.integers(1, 5),
        "height": st.integers(1, 7),
        "width": st.integers(1, 7),
        "size": st.sampled_from([1, 3, 5]),
        "up": st.sampled_from([1, 2, 3]),
        "down": st.sampled_from([1, 2, 3]),
    }
).filter(lambda shape: shape["up"] == 1 or shape["down"] == 1)


def unfolded(features, kernels, up, down):
    """The definition: gather every neighbourhood, then weigh and sum."""
    batch, channels, height, width = features.shape
    taps = kernels.shape[1]
    size = round(taps**0.5)
    patches = F.unfold(features, size, padding=size // 2).view(batch, channels, taps, height, width)
    patches = patches.repeat_interleave(up, dim=3).repeat_interleave(up, dim=4)[..., ::down, ::down]
    return torch.einsum("ncthw,nthw->nchw", patches, kernels)


def example(batch, channels, height, width, size, up, down, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, height, width, dtype=torch.float64, generator=generator)
    out = (-(-height * up // down), -(-width * up // down))
    kernels = torch.randn(batch, size * size, *out, dtype=torch.float64, generator=generator)
    return features.to(dtype), kernels.to(dtype), up, down


@settings(max_examples=60)
@given(shapes)
def test_equals_the_unfold_formulation_in_values_and_gradients(shape):
    features, kernels, up, down = example(**shape)
    if shape["batch"] == 0:
        assert reassemble(features, kernels, up, down).shape[0] == 0
        return
    results = []
    for function in (reassemble, unfolded):
        inputs = features.clone().requires_grad_(), kernels.clone().requires_grad_()
        output = function(*inputs, up, down)
        results.append((output, *torch.autograd.grad(output.sin().sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2), (1, 1)])
def test_gradcheck(up, down):
    features, kernels, up, down = example(2, 3, 3, 5, 3, up, down)
    assert torch.autograd.gradcheck(
        lambda f, k: reassemble(f, k, up, down), (features.requires_grad_(), kernels.requires_grad_())
    )


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2), (1, 1)])
def test_passes_the_operator_checks_of_torch(up, down):
    features, kernels, up, down = example(2, 3, 5, 4, 3, up, down)
    torch.library.opcheck(_reassemble, (features.requires_grad_(), kernels.requires_grad_(), up, down))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_accumulated_in_float32(dtype):
    features, kernels, up, down = example(1, 4, 6, 6, 5, 2, 1, dtype)
    kernels = kernels.softmax(1)
    output = reassemble(features, kernels, up, down)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), unfolded(features.float(), kernels.float(), up, down), rtol=1e-2, atol=1e-2)


def test_mixed_precision_takes_kernels_of_another_dtype():
    features, kernels, up, down = example(1, 4, 6, 6, 5, 2, 1, torch.float32)
    features.requires_grad_()
    reassemble(features.bfloat16(), kernels, up, down).float().sum().backward()
    assert features.grad.dtype == torch.float32


def test_memory_format_of_the_input_does_not_matter():
    features, kernels, up, down = example(2, 4, 5, 7, 5, 2, 1)
    strided = features.to(memory_format=torch.channels_last), kernels.to(memory_format=torch.channels_last)
    torch.testing.assert_close(reassemble(*strided, up, down), reassemble(features, kernels, up, down))


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2)])
def test_builds_nothing_larger_than_the_output_or_the_padded_features(up, down):
    features, kernels, up, down = example(1, 64, 16, 16, 5, up, down)
    sizes = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.untyped_storage().nbytes())
            return result

    with Record():
        output = _reassemble._init_fn(features, kernels, up, down)
        _reassemble_backward._init_fn(output, features, kernels, up, down)
    assert len(sizes) > 100
    assert max(sizes) <= 8 * max(output.numel(), 64 * 20 * 20)


def test_flops_are_counted_also_on_the_meta_device():
    features, kernels = torch.empty(2, 8, 4, 4, device="meta"), torch.empty(2, 25, 8, 8, device="meta")
    with FlopCounterMode(display=False) as counter:
        assert reassemble(features, kernels, up=2).shape == (2, 8, 8, 8)
    assert counter.get_total_flops() == 2 * 2 * 8 * 25 * 8 * 8


@pytest.mark.parametrize(
    ("features", "kernels", "factors", "message"),
    [
        ((1, 4, 6, 6), (1, 25, 6, 6), {"up": 2}, "need kernels of batch and size"),
        ((1, 4, 6, 6), (2, 25, 12, 12), {"up": 2}, "need kernels of batch and size"),
        ((1, 4, 6, 6), (1, 16, 6, 6), {}, "square of an odd number"),
        ((1, 4, 6, 6), (1, 24, 6, 6), {}, "square of an odd number"),
        ((1, 4, 6, 6), (1, 25, 6, 6), {"up": 2, "down": 2}, "not both above 1"),
        ((4, 6, 6), (1, 25, 6, 6), {}, "two 4-D tensors"),
    ],
)
def test_wrong_arguments_are_named(features, kernels, factors, message):
    with pytest.raises(ValueError, match=message):
        reassemble(torch.zeros(features), torch.zeros(kernels), **factors)
