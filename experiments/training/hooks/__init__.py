"""Hooks, loops and wrappers of a training; importing this package registers them."""

from experiments.training.hooks import (
    bfloat16,
    cpu_operators,
    gpu_arithmetic,
    history,
    interruption,
    loss_guard,
    memory,
    progress,
    seeding,
)

__all__ = [
    "bfloat16",
    "cpu_operators",
    "gpu_arithmetic",
    "history",
    "interruption",
    "loss_guard",
    "memory",
    "progress",
    "seeding",
]
