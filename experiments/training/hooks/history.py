"""The course of every loss and of the validations, kept in the checkpoint."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from experiments.tasks.task import load_task


def losses_of(outputs: dict[str, Any] | None) -> dict[str, float]:
    """The losses in a training step's output, by name.

    Parameters
    ----------
    outputs : dict or None
        Output of a training step, as mmengine passes it to hooks.
    """
    return {name: float(torch.as_tensor(value).detach()) for name, value in (outputs or {}).items() if "loss" in name}


@HOOKS.register_module()
class HistoryHook(Hook):
    """Keep the course of every loss, and what is validated, in the checkpoint, so that the curves survive interruptions.

    Parameters
    ----------
    points : int
        About how many points the curve of a whole training has; each is the mean over the iterations since the one before.
    """

    def __init__(self, points: int = 48) -> None:
        self.points = points

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the interval between recorded points."""
        iterations = len(runner.train_dataloader)
        points_per_epoch = max(1, round(self.points * iterations / runner.max_iters))
        self.interval = math.ceil(iterations / points_per_epoch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Add the losses of the iteration."""
        hub = runner.message_hub
        pending = [*hub.get_info("pending_losses", []), losses_of(outputs)]
        if len(pending) == self.interval or batch_idx + 1 == len(runner.train_dataloader):
            means = {name: sum(losses[name] for losses in pending) / len(pending) for name in pending[0]}
            hub.update_info("history", [*hub.get_info("history", []), {"iteration": runner.iter + 1, **means}])
            pending = []
        hub.update_info("pending_losses", pending)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics of a validation."""
        hub, values = runner.message_hub, load_task(runner.cfg.task).validation_metrics(metrics or {})
        hub.update_info("validations", [*hub.get_info("validations", []), {"epoch": runner.epoch, **values}])
