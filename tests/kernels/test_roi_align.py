"""RoIAlign: against samples taken one by one, against mmcv's, its gradient, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import roi_align as mmcv_roi_align

from kernels import cpu
from kernels.roi_align import roi_align
from kernels.roi_align_products import pool_by_products, spread_by_products


@pytest.fixture(params=["C++", "products"], autouse=True)
def _implementation(request, monkeypatch):
    """Every test asks both implementations."""
    if request.param == "products":
        monkeypatch.setattr("kernels.roi_align._operators", lambda _: (pool_by_products, spread_by_products))
    elif reason := cpu.unavailable_reason("cpu"):
        pytest.skip(reason)


examples = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "channels": st.sampled_from([1, 3, 4, 8, 20, 70]),
        "height": st.integers(1, 9),
        "width": st.integers(1, 9),
        "count": st.integers(0, 4),
        "channels_last": st.booleans(),
        "seed": st.integers(0, 2**16),
    }
)
poolings = st.fixed_dictionaries(
    {
        "output_size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "spatial_scale": st.sampled_from([0.25, 0.5, 1.0, 1 / 3]),
        "sampling_ratio": st.integers(0, 3),
    }
)


def example(
    batch=2, channels=4, height=6, width=5, count=3, channels_last=False, seed=0, dtype=torch.float64, spatial_scale=0.5
):
    """A map and regions that reach beyond it on all sides, some of them empty."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64).to(dtype)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    corners = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3) * max(height, width) / spatial_scale
    sizes = (torch.rand(count, 2, generator=generator, dtype=torch.float64) - 0.1).clamp(min=0) * 12
    images = torch.randint(0, batch, (count, 1), generator=generator, dtype=torch.float64)
    return features, torch.cat([images, corners, corners + sizes], dim=1).to(dtype)


def one_by_one(features, regions, output_size, spatial_scale, sampling_ratio):
    """The definition: each sample as a sum over all cells of the map, weighted by (1 - |x - i|)+ (1 - |y - j|)+."""
    height, width = features.shape[2:]
    result = features.new_zeros(len(regions), features.shape[1], *output_size)

    def positions(start, end, bins, cells):
        length = (end - start) / bins
        parts = sampling_ratio or math.ceil(length)
        places = [[start + (b + (s + 0.5) / parts) * length for s in range(parts)] for b in range(bins)]
        return [[min(max(p, 0), cells - 1) if -1 <= p <= cells else None for p in bin_places] for bin_places in places]

    for number, (image, *box) in enumerate(regions.tolist()):
        x1, y1, x2, y2 = (value * spatial_scale - 0.5 for value in box)
        for row, ys in enumerate(positions(y1, y2, output_size[0], height)):
            for column, xs in enumerate(positions(x1, x2, output_size[1], width)):
                for y, x in [(y, x) for y in ys for x in xs if y is not None and x is not None]:
                    by_row = (1 - (torch.arange(height, dtype=features.dtype) - y).abs()).clamp(min=0)
                    by_column = (1 - (torch.arange(width, dtype=features.dtype) - x).abs()).clamp(min=0)
                    sample = torch.einsum("j,i,cji->c", by_row, by_column, features[int(image)])
                    result[number, :, row, column] += sample / (len(ys) * len(xs))
    return result


@settings(max_examples=40, deadline=None)
@given(examples, poolings)
def test_equals_samples_taken_one_by_one(chosen, pooling):
    features, regions = example(**chosen, spatial_scale=pooling["spatial_scale"])
    torch.testing.assert_close(roi_align(features, regions, **pooling), one_by_one(features, regions, **pooling))


@settings(max_examples=100, deadline=None)
@given(examples, poolings.filter(lambda pooling: pooling["spatial_scale"] != 1 / 3))  # which mmcv rounds to float32
def test_value_and_gradient_equal_those_of_mmcv(chosen, pooling):
    features, regions = example(**chosen, spatial_scale=pooling["spatial_scale"])
    features.requires_grad_()
    ours = roi_align(features, regions, **pooling)
    size, scale, samples = pooling["output_size"], pooling["spatial_scale"], pooling["sampling_ratio"]
    theirs = mmcv_roi_align(features.contiguous(), regions, size, scale, samples, "avg", True)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    gradients = [torch.autograd.grad(output, features, torch.sin(theirs + 1))[0] for output in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradient(channels_last, sampling_ratio):
    features, regions = example(channels_last=channels_last)
    torch.autograd.gradcheck(lambda tensor: roi_align(tensor, regions, (2, 3), 0.5, sampling_ratio), features.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes_differ_by_their_rounding_alone(dtype):
    features, regions = example(channels=20, dtype=dtype)
    features.requires_grad_()
    ours = roi_align(features, regions.double(), (3, 3), 0.5)
    exact = roi_align(features.double(), regions.double(), (3, 3), 0.5)
    assert ours.dtype == dtype
    torch.testing.assert_close(
        ours.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps * float(features.detach().abs().max())
    )
    assert torch.autograd.grad(ours.sum(), features)[0].dtype == dtype


def test_the_gradient_has_the_maps_memory_format_and_no_bit_depends_on_the_threads():
    features, regions = example(batch=3, channels=130, height=9, width=9, count=40, channels_last=True, dtype=torch.float32)
    features.requires_grad_()

    def passes():
        output = roi_align(features, regions, (3, 3), 0.5)
        return output, torch.autograd.grad(output, features, torch.sin(output))[0]

    alone = passes()
    torch.set_num_threads(3)
    try:
        together = passes()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert alone[1].is_contiguous(memory_format=torch.channels_last)


def test_regions_get_no_gradient_and_there_is_no_second_derivative():
    features, regions = example()
    features.requires_grad_(), regions.requires_grad_()
    gradient, of_regions = torch.autograd.grad(
        roi_align(features, regions, (2, 2), 0.5).sin().sum(), (features, regions), create_graph=True, allow_unused=True
    )
    assert of_regions is None
    with pytest.raises(RuntimeError, match="twice"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("image", "x1", "x2"), [(2, 0, 4), (-1, 0, 4), (0, 4, 3), (0, 0, math.nan), (0, 0, math.inf), (math.nan, 0, 4)]
)
def test_regions_that_cannot_be_are_refused(image, x1, x2):
    features, _ = example()
    region = torch.tensor([[image, x1, 0, x2, 4]], dtype=torch.float64)
    with pytest.raises(RuntimeError, match="roi_align: a region"):
        roi_align(features, region, (2, 2), 0.5)


@pytest.mark.parametrize(
    ("shape", "regions", "size", "words"),
    [
        ((4, 6, 5), (3, 5), (2, 2), "features must be"),
        ((0, 4, 6, 5), (3, 5), (2, 2), "not empty"),
        ((2, 4, 6, 5), (3, 4), (2, 2), "regions must be"),
        ((2, 4, 6, 5), (3, 5), (0, 2), "output_size must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, regions, size, words):
    with pytest.raises(ValueError, match=words):
        roi_align(torch.zeros(shape), torch.zeros(regions), size, 0.5)
