"""One line per epoch, and the run's progress.json."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from experiments.records.progress_file import Progress
from experiments.records.run_state import write_progress
from experiments.spec.setting import neck_types
from experiments.tasks.task import load_task
from experiments.training.hooks.history import losses_of

SECONDS_BETWEEN_NEWS = 30.0


class ProgressHook(Hook):
    """Print one line per epoch, and keep ``progress.json`` and the training time up to date.

    Parameters
    ----------
    stream : TextIO
        Stream for the lines.
    folder : Path
        The run's folder, ``runs/<id>/``.
    now : callable
        The time in seconds; while the process is stopped it stands still.
    """

    priority = "BELOW_NORMAL"  # before the checkpoint is written, which keeps the time

    def __init__(self, stream: TextIO, folder: Path, now: Callable[[], float]) -> None:
        self.stream, self.folder, self.now = stream, folder, now
        self.written = -math.inf
        self.metrics: dict[str, float] | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Exclude the time between epochs, which validation and checkpoints take."""
        self.last: float | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Start the clock at the first iteration of the epoch; from then on data loading counts too."""
        self.last = self.last or self.now()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Count the iteration; write the file from time to time."""
        now = self.now()
        spent = runner.message_hub.get_info("training_seconds", 0.0) + now - self.last
        runner.message_hub.update_info("training_seconds", spent)
        self.last = now
        if now - self.written > SECONDS_BETWEEN_NEWS:
            self._write(runner, runner.epoch, runner.iter + 1, losses_of(outputs)["loss"])

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Print the epoch, its last loss and the time left."""
        done = runner.epoch + 1
        loss = runner.message_hub.get_info("history")[-1]["loss"]
        left = self._write(runner, done, runner.iter, loss)
        print(
            f"run {runner.cfg.run_id} {' + '.join(neck_types(runner.cfg.run_spec.neck))}: epoch {done}/{runner.max_epochs},"
            f" loss {loss:.3f}, {left / 60:.1f} min left",
            file=self.stream,
            flush=True,
        )

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record the metrics of the validation."""
        self.metrics = load_task(runner.cfg.task).validation_metrics(metrics or {})
        write_progress(self.folder, Progress(metrics=self.metrics))

    @master_only
    def _write(self, runner: Runner, epoch: int, iteration: int, loss: float) -> float:
        rate = runner.message_hub.get_info("training_seconds") / iteration
        left = (runner.max_iters - iteration) * rate
        self.written = self.now()
        progress = Progress(
            epoch=epoch,
            max_epochs=runner.max_epochs,
            iteration=iteration,
            max_iterations=runner.max_iters,
            seconds_per_iteration=rate,
            seconds_left=left,
            loss=loss,
            metrics=self.metrics,
        )
        write_progress(self.folder, progress)
        return left
