"""The benchmark compares forms that compute the same, and prints and draws what it measured."""

import subprocess
import sys

import pytest
import torch

from kernels import benchmark, deformable_aggregate, reassemble


@pytest.mark.parametrize("form", [benchmark.unfold_einsum, benchmark.shifted_loop])
@pytest.mark.parametrize("factors", [{"up": 2, "down": 1}, {"up": 1, "down": 2}])
def test_other_forms_of_reassembly_compute_the_same(form, factors):
    features, kernels = (
        torch.randn(2, 3, 6, 8),
        torch.randn(2, 25, 6 * factors["up"] // factors["down"], 8 * factors["up"] // factors["down"]),
    )
    torch.testing.assert_close(
        form(features, kernels, **factors), reassemble(features, kernels, **factors), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("form", [benchmark.grid_sample_loop, benchmark.mmcv_modulated_deform_conv])
def test_other_forms_of_deformable_aggregation_compute_the_same(form):
    values, joined = torch.randn(2, 32, 7, 9), torch.randn(2, 16 * 27, 7, 9)
    offsets, modulation = benchmark._split_offsets(joined)
    ours = deformable_aggregate(values, offsets, modulation, benchmark.OFFSET_SCALE)
    torch.testing.assert_close(form(values, offsets, modulation), ours, rtol=1e-3, atol=1e-3)


def test_the_other_form_of_roi_align_computes_the_same():
    case = next(benchmark.roi_align_cases("cpu", torch.float32))
    for form, (function, inputs) in case.others.items():
        torch.testing.assert_close(function(*inputs), case.ours(*case.inputs), rtol=1e-3, atol=1e-3, msg=form)


def test_the_other_form_of_modulated_deformable_convolution_computes_the_same():
    *_, case = benchmark.deform_conv_cases("cpu", torch.float32)
    (function, inputs) = case.others["mmcv DCNv2"]
    torch.testing.assert_close(function(*inputs), case.ours(*case.inputs), rtol=1e-3, atol=1e-3)


@pytest.fixture
def case():
    features, kernels = torch.randn(1, 16, 20, 20), torch.randn(1, 25, 40, 40)
    others = {"unfold + einsum": (lambda *inputs: benchmark.unfold_einsum(*inputs, 2, 1), [features, kernels])}
    return benchmark.Case("reassembly", "16x20x20", 1, lambda *inputs: reassemble(*inputs, up=2), [features, kernels], others)


def test_every_other_form_and_the_copy_have_a_row(case):
    rows = [row for name in benchmark.PASSES for row in benchmark.measure(case, name, repetitions=3)]
    assert [(row["pass"], row["against"]) for row in rows] == [
        (name, form) for name in benchmark.PASSES for form in ("unfold + einsum", "copy")
    ]
    for row in rows:
        assert row["other / ours"] == pytest.approx(row["other [ms]"] / row["ours [ms]"])


def test_the_copy_moves_the_bytes_of_all_inputs_and_results(case):
    (copied,) = benchmark._copy_of_as_many_bytes(case, "forward")()
    assert 2 * copied.numel() * 4 == 4 * (16 * 400 + 25 * 1600 + 16 * 1600)


def test_on_a_gpu_a_call_is_timed_alone_and_back_to_back(case, monkeypatch):
    monkeypatch.setitem(benchmark.CLOCKS, "cpu", {"": lambda _: 0.004, ", back to back": lambda _: 0.001})
    row, _copy = benchmark.measure(case, "forward", repetitions=1)
    assert (row["ours [ms]"], row["ours, back to back [ms]"], row["other / ours, back to back"]) == (4, 1, 1)
    assert set(benchmark.CLOCKS["cuda"]) == {"", ", back to back"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--only", "nothing"], "error: --only 'nothing' fits no case"), (["--device", "cuda"], "torch sees no CUDA device")],
)
def test_wrong_arguments_end_in_one_sentence(arguments, message):
    if torch.cuda.is_available() and "cuda" in arguments:
        pytest.skip("needs a machine without CUDA")
    result = subprocess.run(
        [sys.executable, "-m", "kernels.benchmark", *arguments],
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
