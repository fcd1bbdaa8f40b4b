"""The neck of a model, wherever the model has it, and what goes in and out of it."""

from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from experiments.spec.run import Run
from experiments.tasks.task import load_task


def neck_of(model: nn.Module, run: Run) -> nn.Module:
    """The neck of a model.

    Parameters
    ----------
    model : nn.Module
        The model of a run.
    run : Run
        The run.
    """
    neck: nn.Module = attrgetter(run.neck_at)(model)
    return neck


def trace_neck(model: nn.Module, run: Run, image: Tensor) -> tuple[tuple[Tensor, ...], Any]:
    """What the neck of a model reads of an image, and what it makes of it.

    Parameters
    ----------
    model : nn.Module
        The model of a run.
    run : Run
        The run.
    image : Tensor
        (N, 3, H, W).

    Raises
    ------
    Exception
        Whatever the neck raises; what fails after the neck is not this function's.
    """
    if run.neck_at == "neck":
        features = tuple(model.backbone(image))
        return features, model.neck(features)
    passed: list[tuple[tuple[Tensor, ...], Any]] = []
    handle = neck_of(model, run).register_forward_hook(lambda _, read, made: passed.append((tuple(read[0]), made)))
    try:
        load_task(run.task).run_every_layer(model, image)
    except Exception:
        if not passed:
            raise
    finally:
        handle.remove()
    return passed[0]


def neck_inputs(model: nn.Module, run: Run, image: Tensor) -> tuple[Tensor, ...]:
    """What the neck of a model reads of an image, whatever the neck makes of it.

    Parameters
    ----------
    model : nn.Module
        The model of a run.
    run : Run
        The run.
    image : Tensor
        (N, 3, H, W).
    """
    if run.neck_at == "neck":
        return tuple(model.backbone(image))
    passed: list[tuple[Tensor, ...]] = []
    handle = neck_of(model, run).register_forward_pre_hook(lambda _, read: passed.append(tuple(read[0])))
    try:
        load_task(run.task).run_every_layer(model, image)
    except Exception:
        if not passed:
            raise
    finally:
        handle.remove()
    return passed[0]
