"""Less memory for the same gradients: channels last, gradient checkpointing."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import attrgetter

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from experiments.errors import UserError
from experiments.training.distributed import unwrapped


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store the weights, and so all feature maps, in the channels_last memory format."""

    def before_train(self, runner: Runner) -> None:
        """Convert the model's weights."""
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class GradientCheckpointingHook(Hook):
    """Recompute the activations of parts of the model in the backward pass instead of storing them.

    mmengine's `activation_checkpointing` silently loses the gradients of parts that read a list of levels, as necks do.

    Parameters
    ----------
    parts : list of str
        Names of modules, such as ``backbone.layer3`` or ``neck``.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = parts

    def before_train(self, runner: Runner) -> None:
        """Wrap the parts.

        Raises
        ------
        UserError
            If the model has no part of a name.
        """
        checkpoint_gradients(unwrapped(runner.model), self.parts)


def checkpoint_gradients(model: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a model store no activations for the backward pass.

    Parameters
    ----------
    model : nn.Module
        A detector or segmentor.
    parts : list of str
        Names of its modules.

    Raises
    ------
    UserError
        If the model has no part of a name.
    """
    for name in parts:
        try:
            part = attrgetter(name)(model)
        except AttributeError:
            allowed = ", ".join(child for child, _ in model.named_children())
            raise UserError(
                f"gradient_checkpointing: the model has no part {name!r}; its parts: {allowed}, and theirs"
            ) from None
        contexts = partial(_contexts, part)
        part.forward = partial(checkpoint, part.forward, use_reentrant=False, context_fn=contexts)


def _contexts(part: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of the forward pass and of its recomputation."""
    return nullcontext(), _frozen_batch_norm_statistics(part)


@contextmanager
def _frozen_batch_norm_statistics(part: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from updating its running statistics a second time."""
    kept = [(m, m.momentum, m.num_batches_tracked.clone()) for m in part.modules() if isinstance(m, _BatchNorm) and m.training]
    for module, _, _ in kept:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum, batches in kept:
            module.momentum = momentum
            module.num_batches_tracked.copy_(batches)
