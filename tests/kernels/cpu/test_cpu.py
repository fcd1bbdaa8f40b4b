"""The C++ operators: any number of threads, less capable machines, the build."""

import os
import subprocess
import sys

import pytest
import torch

from kernels import cpu
from kernels.cpu.library import CAPABILITIES, cpu_capability, library_path

COMPARISON = """
import torch
from kernels import deformable_aggregate, reassemble
from kernels.backends import VARIABLE
import os

generator = torch.Generator().manual_seed(0)
features, kernels = torch.randn(1, 40, 7, 9, generator=generator), torch.randn(1, 25, 14, 18, generator=generator)
offsets = torch.randn(1, 2, 9, 2, 7, 9, generator=generator)
modulation = torch.randn(1, 2, 9, 7, 9, generator=generator)
results = {}
for backend in ("cpu", "reference"):
    os.environ[VARIABLE] = backend
    inputs = [tensor.clone().requires_grad_() for tensor in (features, kernels, offsets, modulation)]
    outputs = reassemble(*inputs[:2], up=2), deformable_aggregate(inputs[0], *inputs[2:], 2.0)
    results[backend] = [*outputs, *torch.autograd.grad(sum(output.sin().sum() for output in outputs), inputs)]
for ours, reference in zip(*results.values(), strict=True):
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)
print(torch.backends.cpu.get_cpu_capability(), "equal")
"""


def passes():
    generator = torch.Generator().manual_seed(0)
    features, kernels = torch.randn(1, 24, 41, 33, generator=generator), torch.randn(1, 25, 82, 66, generator=generator)
    gradient = torch.randn(1, 24, 82, 66, generator=generator)
    offsets, modulation = (
        torch.randn(1, 2, 9, 2, 41, 33, generator=generator),
        torch.randn(1, 2, 9, 41, 33, generator=generator),
    )
    results = [gradient.new_empty(shape) for shape in (gradient.shape, features.shape, kernels.shape, features.shape)]
    cpu.reassemble(features, kernels, results[0], 2, 1, 1)
    cpu.reassemble_features_gradient(gradient, kernels, results[1], 2, 1, 1)
    cpu.reassemble_kernels_gradient(gradient, features, results[2], 2, 1, 1)
    cpu.deformable_aggregate(features, offsets, modulation, results[3], 2.0)
    gradients = tuple(torch.empty_like(tensor) for tensor in (features, offsets, modulation))
    cpu.deformable_aggregate_backward(features, features, offsets, modulation, gradients, 2.0)
    return [*results, *gradients]


@pytest.mark.parametrize("threads", [2, 7])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    alone = passes()
    torch.set_num_threads(threads)
    try:
        together = passes()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_machines_that_can_less_compute_the_same():
    result = subprocess.run(
        [sys.executable, "-c", COMPARISON],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert "equal" in result.stdout, result.stderr
    assert cpu_capability() in CAPABILITIES


def test_the_library_is_that_of_the_source_and_the_build_is_done_once():
    assert library_path(cpu_capability()).exists()
    before = {path: path.stat().st_mtime_ns for path in library_path("default").parent.iterdir()}
    subprocess.run([sys.executable, "-m", "kernels.cpu.build"], check=True, timeout=600)
    assert {path: path.stat().st_mtime_ns for path in library_path("default").parent.iterdir()} == before


def test_a_missing_compiler_is_one_clear_sentence(project):
    libraries = project / "kernels/cpu/libraries"
    for library in libraries.iterdir():
        library.unlink()
    result = subprocess.run(
        [sys.executable, "-m", "kernels.cpu.build"],
        cwd=project.folder,
        env={**project.environment, "CXX": "no-such-compiler"},
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].startswith("error: the C++ operators were not built: ")
    assert "no-such-compiler" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(libraries.iterdir())
