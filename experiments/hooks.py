"""Hooks that make a training repeatable across interruptions, stop it when it is lost, keep its course and its precision."""

import math
import random
import time
from typing import TextIO

import numpy as np
import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmengine.dist import get_rank, master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils._pytree import tree_map

from experiments.errors import UserError
from experiments.study import neck_types


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


def _losses(outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(torch.as_tensor(value).detach()) for name, value in outputs.items() if "loss" in name}


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a training whose loss is not finite before a checkpoint of it is written."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Look at the total loss of the iteration.

        Raises
        ------
        UserError
            If it is NaN or infinite.
        """
        values = _losses(outputs)
        if math.isfinite(values["loss"]):
            return
        culprits = [name for name, value in values.items() if name != "loss" and not math.isfinite(value)] or ["loss"]
        raise UserError(
            f"run {runner.cfg.run_id}: {', '.join(culprits)} is not finite in epoch {runner.epoch + 1},"
            f" iteration {batch_idx + 1}; lower the learning rate of the scale or check the neck;"
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
        """Start the first point of the epoch."""
        iterations = len(runner.train_dataloader)
        points_per_epoch = max(1, round(self.points * iterations / runner.max_iters))
        self.interval = math.ceil(iterations / points_per_epoch)
        self.pending: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Take the losses of the iteration in."""
        self.pending.append(_losses(outputs))
        if len(self.pending) < self.interval and batch_idx + 1 < len(runner.train_dataloader):
            return
        means = {name: sum(losses[name] for losses in self.pending) / len(self.pending) for name in self.pending[0]}
        history = runner.message_hub.get_info("history", [])
        runner.message_hub.update_info("history", [*history, {"iteration": runner.iter + 1, **means}])
        self.pending = []


@HOOKS.register_module()
class HeadPrecisionHook(Hook):
    """Under bfloat16 autocast, pool regions and hand over predictions in float32: mmcv's RoIAlign and NMS have no bfloat16."""

    def before_train(self, runner: Runner) -> None:
        """Prepare the model's heads."""
        widen_heads(runner.model)


def widen_heads(model: nn.Module) -> None:
    """Let region extractors read, and heads return, bfloat16 tensors as float32.

    Parameters
    ----------
    model : nn.Module
        An mmdet detector.
    """
    for module in model.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda _, arguments: tree_map(_widen, arguments))
        if isinstance(module, BaseDenseHead | BBoxHead | FCNMaskHead):
            module.register_forward_hook(lambda _, __, predictions: tree_map(_widen, predictions))


def _widen(value: object) -> object:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value


class ProgressHook(Hook):
    """Print one line per epoch.

    Parameters
    ----------
    stream : TextIO
        Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def before_train(self, runner: Runner) -> None:
        """Remember where and when the training of this process begins."""
        self.started, self.first_epoch = time.monotonic(), runner.epoch

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Tell the epoch, the loss at its end and the time that is left."""
        done = runner.epoch + 1
        seconds = (time.monotonic() - self.started) / (done - self.first_epoch) * (runner.max_epochs - done)
        loss = runner.message_hub.get_info("history")[-1]["loss"]
        print(
            f"run {runner.cfg.run_id} {' + '.join(neck_types(runner.cfg.model.neck))}: epoch {done}/{runner.max_epochs},"
            f" loss {loss:.3f}, {seconds / 60:.1f} min left",
            file=self.stream,
            flush=True,
        )
