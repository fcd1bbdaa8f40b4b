"""Count the variants of each kernel that trainings on photos of all sizes compile, without compiling, and print them.

Usage: python -m tests.kernels.triton.count_variants DTYPE MEMORY_FORMAT. Prints per kernel its name and their number, of both
directions of resampling together.
"""

import random
import sys
from collections import defaultdict

import torch
import triton
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from kernels import triton as backend
from tests.kernels.triton.compile_kernels import Driver

# Longest side and shorter side to which mmdetection resizes, and what it pads to.
LONGEST, SHORT, MULTIPLE = 1333, 800, 32
SHAPES = [
    (640, 480),
    (480, 640),
    (640, 427),
    (427, 640),
    (500, 375),
    (612, 612),
    (640, 361),
    (333, 500),
    (640, 640),
    (640, 192),
]
SEEN: dict[str, set[str]] = defaultdict(set)


def run_the_first(self, *arguments, **keywords):
    """Instead of measuring: all configurations have as many variants."""
    config = self.early_config_prune(self.configs, {}, **keywords)[0]
    return self.fn.run(*arguments, **keywords, **config.all_kwargs())


def note(self, *arguments, grid=None, warmup=None, **keywords):
    """Instead of launching: what the kernel would be compiled for."""
    binder = self.device_caches[0][-1]
    SEEN[self.__name__].add(str(binder(*arguments, debug=False, **keywords)[1]))


def padded(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a resized photo, padded."""
    scale = min(LONGEST / max(shape), SHORT / min(shape))
    width, height = (-(-round(side * scale) // MULTIPLE) * MULTIPLE for side in shape)
    return height, width


def call_operators(height: int, width: int, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Every function of the backend on the levels of a batch of images."""

    def empty(*shape, memory_format=torch.contiguous_format):
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)

    def empty_map(channels, height, width):
        return empty(2, channels, height, width, memory_format=memory_format)

    for stride in (4, 8, 16):
        fine = empty_map(256, height // stride, width // stride)
        coarse = empty_map(256, height // stride // 2, width // stride // 2)
        for features, output, up, down in ((coarse, fine, 2, 1), (fine, coarse, 1, 2)):
            kernels = empty_map(25, *output.shape[2:])
            backend.reassemble(features, kernels, output, up, down, 1)
            backend.reassemble_features_gradient(output, kernels, features, up, down, 1)
            backend.reassemble_kernels_gradient(output, features, kernels, up, down, 1)
        samples = empty(2, 16, 9, 2, *fine.shape[2:]), empty(2, 16, 9, *fine.shape[2:])
        backend.deformable_aggregate(fine, *samples, fine, 1.0)
        backend.deformable_aggregate_backward(fine, fine, *samples, (fine, *samples), 1.0)


if __name__ == "__main__":
    triton.runtime.driver.set_active(Driver(90))
    Autotuner.run, JITFunction.run = run_the_first, note
    chance = random.Random(0)
    sizes = [padded(shape) for shape in SHAPES]
    for _ in range(200):
        batch = chance.sample(sizes, 2)
        height, width = (max(sides) for sides in zip(*batch, strict=True))
        call_operators(height, width, getattr(torch, sys.argv[1]), getattr(torch, sys.argv[2]))
    for name, variants in SEEN.items():
        print(name, len(variants))
