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


def compile_kernels(cache, *arguments):
    """Name, registers and bytes of stack of every compiled kernel."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.kernels.triton.compile_kernels", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    return [(name, int(registers), int(stack)) for name, registers, stack in map(str.split, run.stdout.splitlines())]


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
    assert max(stack for *_, stack in compiled) <= 64
