"""Stop a training whose loss is not finite or diverges."""

import math

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from experiments.errors import UserError
from experiments.training.hooks.history import losses_of


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a training whose loss is not finite or diverges, before a checkpoint is written.

    Parameters
    ----------
    window : int
        Iterations over which the loss is averaged.
    growth : float
        Largest allowed ratio of the mean loss of the last `window` iterations to that of the first ones.
    """

    def __init__(self, window: int = 50, growth: float = 10.0) -> None:
        self.window = window
        self.growth = growth

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the total loss of the iteration.

        Raises
        ------
        UserError
            If it is NaN or infinite, or the loss has diverged.
        """
        values = losses_of(outputs)
        place = f"in epoch {runner.epoch + 1}, iteration {batch_idx + 1}"
        if not math.isfinite(values["loss"]):
            culprits = [name for name, value in values.items() if name != "loss" and not math.isfinite(value)] or ["loss"]
            raise self._stop(runner, f"{', '.join(culprits)} is not finite {place}")
        first, last = self._means(runner, values["loss"])
        if last > self.growth * first:
            raise self._stop(runner, f"the loss diverges, {first:.3g} at the beginning and {last:.3g} {place}")

    def _means(self, runner: Runner, loss: float) -> tuple[float, float]:
        """Mean losses of the first and of the last iterations, kept in the message hub, which survives interruptions."""
        losses = [*runner.message_hub.get_info("last_losses", []), loss][-self.window :]
        runner.message_hub.update_info("last_losses", losses)
        last = sum(losses) / len(losses)
        if runner.iter < self.window:
            runner.message_hub.update_info("first_loss", last)
        return runner.message_hub.get_info("first_loss", last), last

    def _stop(self, runner: Runner, what: str) -> UserError:
        return UserError(
            f"run {runner.cfg.run_id}: {what}; lower the learning rate of the scale or check the neck;"
            " the checkpoint of the last whole epoch is kept"
        )
