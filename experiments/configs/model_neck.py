"""The neck of a model, wherever the model has it, and what goes in and out of it."""

from operator import attrgetter
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from experiments.spec.run import Run
from experiments.tasks.task import load_task

Noted = TypeVar("Noted")


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
    return _first_noted(passed, handle, model, run, image)


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
    return _first_noted(passed, handle, model, run, image)


def _first_noted(noted: list[Noted], handle: RemovableHandle, model: nn.Module, run: Run, image: Tensor) -> Noted:
    """What a hook of the neck notes while the model runs; what fails after it is not asked for."""
    try:
        load_task(run.task).run_every_layer(model, image)
    except Exception:
        if not noted:
            raise
    finally:
        handle.remove()
    return noted[0]
