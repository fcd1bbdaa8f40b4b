"""Hooks that make a training repeatable across interruptions, stop it when it is lost, and keep and show its course."""

import math
import random
import time
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from mmengine.dist import get_rank, master_only
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import Runner

from experiments.errors import UserError
from experiments.records.run_state import write_progress
from experiments.spec.study import neck_types

SECONDS_BETWEEN_NEWS = 30.0


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every generator anew at the start of each epoch, so that a resumed training goes on as if it had never stopped.

    Parameters
    ----------
    seed : int
        Of the run.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Derive the epoch's seed from the run's, the epoch and the process."""
        state = np.random.SeedSequence([self.seed, runner.epoch, get_rank()]).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a process that loads data from the seed that torch draws for it at the start of the epoch, after `EpochSeedHook`.

    mmengine's own function gives it the same seed in every epoch.

    Parameters
    ----------
    worker_id : int
        Of the process; torch's seed differs by it already.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def _losses(outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(torch.as_tensor(value).detach()) for name, value in outputs.items() if "loss" in name}


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a training whose loss is not finite or grows beyond hope before a checkpoint of it is written.

    Parameters
    ----------
    window : int
        Iterations over which the loss is averaged.
    growth : float
        How many times the mean loss of the first `window` iterations that of the last ones may be.
    """

    def __init__(self, window: int = 50, growth: float = 10.0) -> None:
        self.window = window
        self.growth = growth

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Look at the total loss of the iteration.

        Raises
        ------
        UserError
            If it is NaN or infinite, or the loss has diverged.
        """
        values = _losses(outputs)
        place = f"in epoch {runner.epoch + 1}, iteration {batch_idx + 1}"
        if not math.isfinite(values["loss"]):
            culprits = [name for name, value in values.items() if name != "loss" and not math.isfinite(value)] or ["loss"]
            raise self._stop(runner, f"{', '.join(culprits)} is not finite {place}")
        first, last = self._means(runner, values["loss"])
        if last > self.growth * first:
            raise self._stop(runner, f"the loss diverges, {first:.3g} at the beginning and {last:.3g} {place}")

    def _means(self, runner: Runner, loss: float) -> tuple[float, float]:
        """Mean losses of the first and of the last iterations; in the message hub they survive an interruption."""
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


@HOOKS.register_module()
class HistoryHook(Hook):
    """Keep the course of every loss in the checkpoint, so that the training curve survives interruptions.

    Parameters
    ----------
    points : int
        About how many points the curve of a whole training has; each is the mean over the iterations since the one before.
    """

    def __init__(self, points: int = 48) -> None:
        self.points = points

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the distance of the points."""
        iterations = len(runner.train_dataloader)
        points_per_epoch = max(1, round(self.points * iterations / runner.max_iters))
        self.interval = math.ceil(iterations / points_per_epoch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Take the losses of the iteration in."""
        hub = runner.message_hub
        pending = [*hub.get_info("pending_losses", []), _losses(outputs)]
        if len(pending) == self.interval or batch_idx + 1 == len(runner.train_dataloader):
            means = {name: sum(losses[name] for losses in pending) / len(pending) for name in pending[0]}
            hub.update_info("history", [*hub.get_info("history", []), {"iteration": runner.iter + 1, **means}])
            pending = []
        hub.update_info("pending_losses", pending)


class ProgressHook(Hook):
    """Print one line per epoch, and keep the run's ``progress.json`` and the time spent on it up to date.

    Parameters
    ----------
    stream : TextIO
        Where the lines go.
    folder : Path
        Of the run.
    """

    priority = "BELOW_NORMAL"  # before the checkpoint is written, which keeps the time

    def __init__(self, stream: TextIO, folder: Path) -> None:
        self.stream, self.folder = stream, folder
        self.written = -math.inf
        self.metrics: dict[str, float] | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget the time between epochs, in which the run was validated and saved."""
        self.last: float | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Begin to count with the first iteration of the epoch; from then on loading counts too."""
        self.last = self.last or time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Count the iteration; write the file from time to time."""
        now = time.monotonic()
        spent = runner.message_hub.get_info("training_seconds", 0.0) + now - self.last
        runner.message_hub.update_info("training_seconds", spent)
        self.last = now
        if now - self.written > SECONDS_BETWEEN_NEWS:
            self._write(runner, runner.epoch, runner.iter + 1, float(outputs["loss"]))

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Tell the epoch, the loss at its end and the time that is left."""
        done = runner.epoch + 1
        loss = runner.message_hub.get_info("history")[-1]["loss"]
        left = self._write(runner, done, runner.iter, loss)
        print(
            f"run {runner.cfg.run_id} {' + '.join(neck_types(runner.cfg.model.neck))}: epoch {done}/{runner.max_epochs},"
            f" loss {loss:.3f}, {left / 60:.1f} min left",
            file=self.stream,
            flush=True,
        )

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell the validation's average precisions, in percent."""
        names = {"coco/bbox_mAP": "box_AP", "coco/segm_mAP": "mask_AP"}
        self.metrics = {short: 100 * metrics[name] for name, short in names.items() if name in (metrics or {})}
        write_progress(self.folder, metrics=self.metrics)

    @master_only
    def _write(self, runner: Runner, epoch: int, iteration: int, loss: float) -> float:
        rate = runner.message_hub.get_info("training_seconds") / iteration
        left = (runner.max_iters - iteration) * rate
        self.written = time.monotonic()
        write_progress(
            self.folder,
            epoch=epoch,
            max_epochs=runner.max_epochs,
            iteration=iteration,
            max_iterations=runner.max_iters,
            seconds_per_iteration=rate,
            seconds_left=left,
            loss=loss,
            metrics=self.metrics,
        )
        return left
