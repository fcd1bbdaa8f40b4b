"""How a GPU computes: whether its results repeat, how exactly it multiplies, how it chooses its convolutions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from experiments.errors import UserError, first_line
from experiments.training.roi_align import RepeatableRoIAlign, replace_roi_align

# cuBLAS repeats with as much memory of its own for each stream; it reads this before its first product.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
NO_DETERMINISTIC_FORM = "does not have a deterministic implementation"
REMEDY = "leave the option out, or train on the CPU, where everything repeats"


@HOOKS.register_module()
class GpuArithmeticHook(Hook):
    """Set what a scale says about the arithmetic of GPUs.

    Parameters
    ----------
    tf32 : {'convolutions', 'all', 'none'}
        What rounds its factors to TF32, of 10 binary digits behind the first.
    cudnn_benchmark : bool
        Whether cuDNN measures its algorithms for each new size.
    """

    def __init__(self, tf32: str = "convolutions", cudnn_benchmark: bool = False) -> None:
        self.tf32, self.cudnn_benchmark = tf32, cudnn_benchmark

    def before_run(self, runner: Runner) -> None:
        """Set torch's options."""
        torch.backends.cudnn.allow_tf32 = self.tf32 in ("convolutions", "all")
        torch.backends.cuda.matmul.allow_tf32 = self.tf32 == "all"
        torch.backends.cudnn.benchmark = self.cudnn_benchmark


@HOOKS.register_module()
class RepeatableGpuHook(Hook):
    """Let a training on a GPU compute with operators whose results repeat, and refuse a model with others.

    mmengine's `randomness.deterministic` lets torch refuse its own operators; mmcv's add gradients up atomically without a
    word.
    """

    def __init__(self) -> None:
        os.environ.setdefault(*CUBLAS_WORKSPACE)

    def before_run(self, runner: Runner) -> None:
        """Replace RoIAlign, and look at the other layers of mmcv.

        Raises
        ------
        UserError
            If the model has one that adds up atomically.
        """
        if next(runner.model.parameters()).device.type != "cpu":
            replace_roi_align(runner.model)
            refuse_atomic_layers(runner.model)


def refuse_atomic_layers(model: nn.Module) -> None:
    """Refuse a model with layers of mmcv's operators, which add up in an order that changes.

    Parameters
    ----------
    model : nn.Module
        The model, in which `RepeatableRoIAlign` stands for RoIAlign.

    Raises
    ------
    UserError
        If there are any.
    """
    layers = [module for module in model.modules() if not isinstance(module, RepeatableRoIAlign)]
    kinds = {kind.__name__ for layer in layers for kind in type(layer).__mro__ if kind.__module__.startswith("mmcv.ops.")}
    if kinds:
        raise UserError(
            f"the scale's training: deterministic: on a GPU mmcv's {', '.join(sorted(kinds))} adds gradients up in an order"
            f" that changes: {REMEDY}"
        )


@contextmanager
def refusals_as_user_errors() -> Iterator[None]:
    """Turn torch's refusal of an operator that does not repeat into one sentence.

    Raises
    ------
    UserError
        With the operator's name.
    """
    try:
        yield
    except RuntimeError as error:
        if NO_DETERMINISTIC_FORM not in str(error):
            raise
        operator = first_line(error, "an operator").split(NO_DETERMINISTIC_FORM)[0].strip()
        raise UserError(f"the scale's training: deterministic: {operator} {NO_DETERMINISTIC_FORM} here: {REMEDY}") from error
