"""Less memory for the same gradients: channels last, gradient checkpointing."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import attrgetter

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from experiments.errors import UserError


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the weights, and so all feature maps, with the channels of a pixel beside each other in memory."""

    def before_train(self, runner: Runner) -> None:
        """Convert the model's weights."""
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class GradientCheckpointingHook(Hook):
    """Compute the inner results of parts of the model again in the backward pass instead of keeping them.

    mmengine's `activation_checkpointing` loses, without a word, the gradients of parts that read a list of levels, as necks do.

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
        checkpoint_gradients(runner.model.module if is_model_wrapper(runner.model) else runner.model, self.parts)


def checkpoint_gradients(model: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a model keep no inner results for the backward pass.

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
    """Of the forward pass, and of the one that is computed again."""
    return nullcontext(), _frozen_batch_norm_statistics(part)


@contextmanager
def _frozen_batch_norm_statistics(part: nn.Module) -> Iterator[None]:
    """Batch normalisations have seen the batch already: what they keep of it does not change a second time."""
    kept = [(m, m.momentum, m.num_batches_tracked.clone()) for m in part.modules() if isinstance(m, _BatchNorm) and m.training]
    for module, _, _ in kept:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum, batches in kept:
            module.momentum = momentum
            module.num_batches_tracked.copy_(batches)
