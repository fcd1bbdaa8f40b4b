"""A few steps of a training on random images, timed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from experiments.configs.build import build_model, load_config
from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import Scale
from experiments.tasks.task import load_task
from experiments.training.hooks.gpu_arithmetic import refusals_as_user_errors
from experiments.training.prepared_model import prepare_model


def require_gpu(scale: Scale, command: str) -> None:
    """Refuse to take steps of a scale's trainings on a machine without the GPU that they are for.

    Parameters
    ----------
    scale : Scale
        The scale.
    command : str
        What asks, for the sentence.

    Raises
    ------
    UserError
        If the scale trains on GPUs and torch sees none.
    """
    if scale.resources.gpus and not torch.cuda.is_available():
        raise UserError(f"{command}: scale {scale.name} trains on GPUs and torch sees none here; call it on a node with a GPU")


def seconds_of_steps(run: Run, device: str, count: int) -> list[float]:
    """Seconds of each of the first steps of one process, computed as its training computes them.

    Parameters
    ----------
    run : Run
        The run that gives model, precision, batch size and optimiser; weights and images are random.
    device : {'cpu', 'cuda'}
        Where.
    count : int
        Number of steps.

    Raises
    ------
    UserError
        If the model cannot be built, or results must repeat and an operator's do not.
    """
    config = load_config(run)
    model = revert_sync_batchnorm(build_model(run)).to(device).train()
    prepare_model(model, config)
    optimiser = build_optim_wrapper(model, config.optim_wrapper)
    batch = load_task(run.task).random_batch(run, model, device)
    with _deterministic_algorithms(run.scale.training.deterministic), refusals_as_user_errors():
        return [_seconds_of_step(model, optimiser, batch, device) for _ in range(count)]


@contextmanager
def _deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """What mmengine sets for a training whose results repeat."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]


def _seconds_of_step(model: nn.Module, optimiser: OptimWrapper, batch: dict[str, Any], device: str) -> float:
    _wait(device)
    started = time.perf_counter()
    model.train_step(batch, optimiser)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
