"""bfloat16 where it is safe."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import nn

from experiments.tasks.task import load_task


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes under bfloat16 autocast, on CPU and GPU.

    bfloat16 has the range of float32, so the loss needs no scaling; mmengine's `AmpOptimWrapper` scales it and needs a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


@HOOKS.register_module()
class HeadPrecisionHook(Hook):
    """Under bfloat16 autocast, let the model compute in float32 what has no bfloat16 implementation."""

    def before_train(self, runner: Runner) -> None:
        """Prepare the model as its task says."""
        load_task(runner.cfg.task).return_float32(runner.model)
