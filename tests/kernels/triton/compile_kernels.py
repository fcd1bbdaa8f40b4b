"""Compile all kernels in all their configurations for a CUDA architecture, without a GPU, and print what they take.

Usage: python -m tests.kernels.triton.compile_kernels ARCHITECTURE DTYPE MEMORY_FORMAT SIZE,
for example 90 bfloat16 channels_last 5.

The operators are called as they are, on meta tensors, so that strides, alignments and constants are those of a real launch;
only the launch itself is replaced. Prints per kernel its name, registers per thread and bytes of stack, where spills go.
"""

import re
import subprocess
import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from kernels import triton as backend


class Driver:
    """A device that is not there."""

    def __init__(self, architecture: int) -> None:
        self.target = GPUTarget("cuda", architecture, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_configurations(autotuner, *arguments, **keywords):
    """Compile instead of measuring."""
    for config in autotuner.early_config_prune(autotuner.configs, {}, **keywords):
        autotuner.fn.run(*arguments, **keywords, **config.all_kwargs())


def compile_and_report(run):
    """Compile instead of launching."""

    def compile_one(function, *arguments, **keywords):
        kernel = run(function, *arguments, **(keywords | {"warmup": True}))
        registers, stack = resources(kernel.asm["cubin"])
        print(function.__name__, registers, stack, flush=True)

    return compile_one


def resources(binary: bytes) -> tuple[str, str]:
    """Registers and bytes of stack per thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    return re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()


def call_operators(dtype: torch.dtype, memory_format: torch.memory_format, size: int) -> None:
    """Call every function of the backend, for both directions of resampling."""

    def empty(*shape):
        return torch.empty(shape, dtype=dtype, device="meta")

    def empty_map(*shape):
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)

    coarse, fine = empty_map(1, 256, 104, 160), empty_map(1, 256, 208, 320)
    for features, output, up, down in ((coarse, fine, 2, 1), (fine, coarse, 1, 2)):
        kernels, kernels_gradient = empty(1, size * size, *output.shape[2:]), empty_map(1, size * size, *output.shape[2:])
        backend.reassemble(features, kernels, output, up, down, 1)
        backend.reassemble_features_gradient(output, kernels, features, up, down, 1)
        backend.reassemble_kernels_gradient(output, features, kernels_gradient, up, down, 1)
    # A whole number of 1 is a constant to the compiler.
    narrow, displaced = empty_map(1, 16, 1, 1), (empty(1, 1, size * size, 2, 1, 1), empty(1, 1, size * size, 1, 1))
    backend.deformable_aggregate_backward(narrow, narrow, *displaced, (narrow, *displaced), 1.0)
    samples = empty(1, 16, size * size, 2, 104, 160), empty(1, 16, size * size, 104, 160)
    backend.deformable_aggregate(coarse, *samples, coarse, 1.0)
    backend.deformable_aggregate_backward(coarse, coarse, *samples, (coarse, *samples), 1.0)


if __name__ == "__main__":
    triton.runtime.driver.set_active(Driver(int(sys.argv[1])))
    Autotuner.run = compile_configurations
    JITFunction.run = compile_and_report(JITFunction.run)
    call_operators(getattr(torch, sys.argv[2]), getattr(torch, sys.argv[3]), int(sys.argv[4]))
