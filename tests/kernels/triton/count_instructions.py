"""What the loops of reassembly's kernels issue on a CUDA architecture, compiled without a GPU, and how many warps it holds.

Usage: python -m tests.kernels.triton.count_instructions ARCHITECTURE DTYPE MEMORY_FORMAT,
for example 90 float32 channels_last.

Prints for each configuration, enlarging by 2 with kernels of 5 x 5: registers per thread, warps that a multiprocessor holds,
and for its longest loop all instructions, multiply-adds, and loads from memory by their width in bits.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter

import torch
import triton
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from kernels import triton as backend
from tests.kernels.triton.compile_kernels import Driver, resources

REGISTERS = 65536  # of a multiprocessor
REGISTERS_AT_ONCE = 256  # are given to a warp
LABEL = re.compile(r"^\s*\.L_x_(\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)(.*);")


def instructions_of(binary: bytes) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Instructions, each with what stands behind its name, and where the labels stand among them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [triton.knobs.nvidia.nvdisasm.path, "-c", file.name]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.splitlines()
    found: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in lines:
        if label := LABEL.match(line):
            labels[label[1]] = len(found)
        elif instruction := INSTRUCTION.search(line):
            found.append((instruction[1], instruction[2]))
    return found, labels


def longest_loop(binary: bytes) -> list[str]:
    """Names of the instructions of the longest loop: what lies between a jump back and where it goes."""
    found, labels = instructions_of(binary)
    loops = []
    for number, (name, rest) in enumerate(found):
        target = re.search(r"\.L_x_(\d+)", rest) if name.startswith("BRA") else None
        if target and labels.get(target[1], number + 1) <= number:
            loops.append([name for name, _ in found[labels[target[1]] : number + 1]])
    return max(loops, key=len, default=[])


def report(function: str, config: triton.Config, binary: bytes) -> None:
    """Print what a configuration takes."""
    registers = int(resources(binary)[0])
    per_warp = -(-32 * registers // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
    warps = REGISTERS // per_warp // config.num_warps * config.num_warps
    loop = Counter(longest_loop(binary))
    loads = {name: count for name, count in loop.items() if name.startswith(("LDG", "LDS"))}
    multiply_adds = sum(count for name, count in loop.items() if name.startswith(("FFMA", "HFMA")))
    sizes = " ".join(f"{name}={value}" for name, value in config.kwargs.items())
    print(f"{function} {sizes} warps={config.num_warps}: {registers} registers, {warps} warps;", end=" ")
    print(f"loop: {loop.total()} instructions, {multiply_adds} multiply-adds, loads {loads}", flush=True)


if __name__ == "__main__":
    triton.runtime.driver.set_active(Driver(int(sys.argv[1])))
    dtype, memory_format = getattr(torch, sys.argv[2]), getattr(torch, sys.argv[3])
    compile_kernel = JITFunction.run

    def compile_configurations(autotuner, *arguments, **keywords):
        """Compile instead of measuring."""
        for config in autotuner.early_config_prune(autotuner.configs, {}, **keywords):
            kernel = compile_kernel(autotuner.fn, *arguments, **(keywords | config.all_kwargs() | {"warmup": True}))
            report(autotuner.fn.__name__, config, kernel.asm["cubin"])

    def empty_map(channels, height, width):
        return torch.empty((2, channels, height, width), dtype=dtype, device="meta", memory_format=memory_format)

    Autotuner.run = compile_configurations
    coarse, fine, kernels = empty_map(256, 104, 160), empty_map(256, 208, 320), empty_map(25, 208, 320)
    backend.reassemble(coarse, kernels, fine, 2, 1, 1)
    backend.reassemble_features_gradient(fine, kernels, coarse, 2, 1, 1)
    backend.reassemble_kernels_gradient(fine, coarse, kernels, 2, 1, 1)
