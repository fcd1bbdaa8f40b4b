"""Interruption of a training: signals, the checkpoint written on them, and the loop that resumes from it."""

import math
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner

from experiments.training.distributed import unwrapped
from experiments.training.signals import (
    InterruptionError,
    answer_signals,
    interrupt,
    leave_signals_to_this_process,
    note_signal,
)

CHECKPOINT = "interrupted.pth"


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On a signal that ends a training, write a checkpoint after the iteration and stop.

    Unlike the checkpoint of an epoch, this one also holds every rank's random state and buffers, such as the running statistics
    of normalisations. During a validation nothing is written, because the epoch's checkpoint exists already.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.training = False
        self.previous: dict[signal.Signals, Any] = {}
        self.saved_processes: list[dict[str, Any]] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep each rank's state from the checkpoint of an interruption."""
        self.saved_processes = checkpoint["meta"].get("processes")

    def before_train(self, runner: Runner) -> None:
        """Install the signal handlers."""
        self.training = True
        leave_signals_to_this_process()
        self.previous = answer_signals(self._receive)

    def after_train(self, runner: Runner) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def before_val_epoch(self, runner: Runner) -> None:
        """End the process at once on a signal, also on one that came after the last step: the epoch is saved."""
        self.training = False
        if self.received:
            raise InterruptionError(f"stopped by {self.received.name} before a validation; the same command goes on")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write a checkpoint on a signal again."""
        self.training = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Write the checkpoint and stop, if any rank received a signal.

        Raises
        ------
        InterruptionError
            After the checkpoint is written.
        """
        if not self._any_received():
            return
        processes = gather_object(_process_state(runner), dst=0)
        folder = Path(runner.work_dir)
        runner.save_checkpoint(str(folder), f"{CHECKPOINT}.draft", by_epoch=False, meta={"processes": processes})
        if is_main_process():
            (folder / f"{CHECKPOINT}.draft").rename(folder / CHECKPOINT)
        name = self.received.name if self.received else "a signal to another process"
        raise InterruptionError(
            f"run {runner.cfg.run_id}: stopped by {name} after epoch {runner.epoch + 1}, iteration {batch_idx + 1};"
            " a checkpoint is written, the same command goes on from it"
        )

    def before_replay(self, runner: Runner) -> None:
        """End the process at once on a signal: nothing new has been computed since the checkpoint."""
        self.training = False
        if self.received:
            raise InterruptionError(f"stopped by {self.received.name} before the first step; the same command goes on")

    def restore_process(self, runner: Runner) -> None:
        """Restore this rank's state from before the interruption, and write a checkpoint on a signal again."""
        self.training = True
        if self.saved_processes is None or len(self.saved_processes) != get_world_size():
            return
        _restore(runner, self.saved_processes[get_rank()])

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = note_signal(number)
        if not self.training:
            interrupt(number)

    def _any_received(self) -> bool:
        flag = torch.tensor(float(self.received is not None))
        all_reduce(flag, op="max")
        return bool(flag)


@LOOPS.register_module()
class InterruptibleTrainLoop(EpochBasedTrainLoop):
    """mmengine's epoch-based loop, able to start and to end within an epoch.

    The batches before that point are loaded and skipped, so that the dataloader draws the same random numbers again.

    Parameters
    ----------
    runner, dataloader, options
        As for mmengine's loop.
    max_epochs : int, optional
        Length in epochs.
    max_iters : int, optional
        Length in iterations, in the place of `max_epochs`; a checkpoint is written and a validation is due after each epoch
        nevertheless.
    """

    def __init__(
        self, runner: Runner, dataloader: Any, max_epochs: int | None = None, max_iters: int | None = None, **options: Any
    ) -> None:
        super().__init__(runner, dataloader, 1 if max_epochs is None else max_epochs, **options)
        if max_iters is not None:
            self._max_iters, self._max_epochs = max_iters, math.ceil(max_iters / len(self.dataloader))

    def run_epoch(self) -> None:
        """Train the rest of the epoch."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        batches = enumerate(self.dataloader)
        done = self._iter - self._epoch * len(self.dataloader)
        if done:
            self._replay(batches, done)
        for index, batch in batches:
            self.run_iter(index, batch)
            if self._iter >= self._max_iters:
                break
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _replay(self, batches: Iterator[tuple[int, Any]], done: int) -> None:
        self.runner.call_hook("before_replay")
        for _ in range(done):
            next(batches)
        self.runner.call_hook("restore_process")


def _buffers(runner: Runner) -> dict[str, torch.Tensor]:
    model = unwrapped(runner.model)
    return dict(model.named_buffers())


def _process_state(runner: Runner) -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "buffers": {name: buffer.cpu() for name, buffer in _buffers(runner).items()},
    }


def _restore(runner: Runner, state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    for name, buffer in _buffers(runner).items():
        buffer.copy_(state["buffers"][name])
