"""The kernels compile for NVIDIA GPUs, which takes no GPU."""

import os
import subprocess
import sys

import pytest

KERNELS = {
    "_forward",
    "_features_gradient",
    "_kernels_gradient",
    "_samples_gradient",
    "_corner_keys",
    "_values_gradient",
}


def printed_by(program, cache, *arguments):
    """Each line of a program of these tests: a kernel's name and whole numbers."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", f"tests.kernels.triton.{program}", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    return [(name, *map(int, numbers)) for name, *numbers in map(str.split, run.stdout.splitlines())]


def compile_kernels(cache, *arguments):
    """Name, registers and bytes of stack of every compiled kernel."""
    return printed_by("compile_kernels", cache, *arguments)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous_format"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_kernel_is_compiled_once_for_photos_of_all_sizes(tmp_path, dtype, memory_format):
    variants = dict(printed_by("count_variants", tmp_path, dtype, memory_format))
    assert set(variants) == KERNELS
    # Those that both operators call by one name, of which reassembly has a variant for each direction.
    assert variants == {name: {"_forward": 3, "_features_gradient": 2, "_kernels_gradient": 2}.get(name, 1) for name in KERNELS}


@pytest.mark.parametrize(
    "variant",
    [
        ("80", "bfloat16", "channels_last"),
        pytest.param(("90", "float32", "contiguous_format"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_all_configurations_compile(tmp_path, variant):
    compiled = compile_kernels(tmp_path, *variant, "1")
    assert {name for name, *_ in compiled} == KERNELS


@pytest.mark.slow
@pytest.mark.parametrize("size", ["3", "5"])
@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous_format"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("architecture", ["80", "90"])
def test_the_usual_sizes_fit_into_registers(tmp_path, architecture, dtype, memory_format, size):
    compiled = compile_kernels(tmp_path, architecture, dtype, memory_format, size)
    assert [kernel for kernel in compiled if kernel[-1]] == []
