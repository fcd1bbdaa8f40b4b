"""What a neck alone costs, beside FPN: parameters, multiply-adds, memory, time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments.configs.build import build_empty_model, build_model
from experiments.configs.model_neck import neck_inputs, neck_of
from experiments.cost.complexity import countable_model, multiply_adds, training_memory
from experiments.spec.run import Run

REPETITIONS = 3
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class NeckCost:
    """The cost of a neck on one image of its scale's `complexity_image`.

    Attributes
    ----------
    parameters : int
        Its trained and frozen parameters.
    multiply_adds : float or None
        Of a forward pass; None if the neck cannot run on tensors without data.
    memory : int or None
        Peak bytes while it and the backbone are trained on two images, see `experiments.cost.complexity.training_memory`.
    forward, backward : float
        Seconds on this machine's CPU, the median of several.
    """

    parameters: int
    multiply_adds: float | None
    memory: int | None
    forward: float
    backward: float


def neck_costs(runs: list[Run]) -> list[NeckCost]:
    """The cost of each run's neck, times measured side by side.

    Parameters
    ----------
    runs : list of Run
        Runs of one scale and backbone.
    """
    necks = [neck_of(build_model(run).train(), run) for run in runs]
    seconds: list[list[tuple[float, float]]] = [[] for _ in runs]
    features = _random_features(runs[0], images=2)
    for _ in tqdm(range(REPETITIONS + 1), desc="timing", unit="round", leave=False):
        for neck, times in zip(necks, seconds, strict=True):
            times.append(_seconds(neck, features))
    return [
        NeckCost(
            parameters=sum(parameter.numel() for parameter in neck.parameters()),
            multiply_adds=_counted(partial(_neck_multiply_adds, run, features)),
            memory=_counted(partial(training_memory, run)),
            # The first round warms up.
            forward=statistics.median(forward for forward, _ in times[1:]),
            backward=statistics.median(backward for _, backward in times[1:]),
        )
        for run, neck, times in zip(runs, necks, seconds, strict=True)
    ]


def _counted(count: Callable[[], Number]) -> Number | None:
    """What is counted without data; None if the model cannot run so, as one that asks for a tensor's value."""
    try:
        return count()
    except Exception:  # a neck may fail in any way
        return None


def _random_features(run: Run, images: int) -> tuple[Tensor, ...]:
    """Random levels (N, C_i, H_i, W_i) of the sizes that the run's neck reads."""
    model = countable_model(run).eval()
    image = torch.zeros(images, 3, *run.scale.complexity_image, device=next(model.parameters()).device)
    with image.device, torch.no_grad():
        features = neck_inputs(model, run, image)
    return tuple(torch.randn(level.shape) for level in features)


def _neck_multiply_adds(run: Run, features: tuple[Tensor, ...]) -> float:
    """Of one image."""
    neck = neck_of(build_empty_model(run), run)
    return multiply_adds(neck, tuple(torch.zeros_like(level[:1], device=next(neck.parameters()).device) for level in features))


def _seconds(neck: nn.Module, features: tuple[Tensor, ...]) -> tuple[float, float]:
    inputs = tuple(level.clone().requires_grad_() for level in features)
    started = time.perf_counter()
    levels = neck(inputs)
    between = time.perf_counter()
    sum(level.mean() for level in levels).backward()
    ended = time.perf_counter()
    neck.zero_grad(set_to_none=True)
    return between - started, ended - between
