"""What acts while a training runs: importing this package registers every hook, loop and wrapper that configs name."""

from experiments.training.hooks import bfloat16, history, interruption, loss_guard, memory, progress, seeding

__all__ = ["bfloat16", "history", "interruption", "loss_guard", "memory", "progress", "seeding"]
