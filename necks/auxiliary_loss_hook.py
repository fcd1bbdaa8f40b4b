"""The hook that brings a neck's parameter-only loss terms into the training loss of any detector or segmentor."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from necks.layers.contracts import HasAuxiliaryLosses


@HOOKS.register_module()
class AuxiliaryLossHook(Hook):
    """Add the `auxiliary_losses()` of every part of the model that has them to the losses that the model returns.

    The terms travel with the model's own: they are logged under their names, scaled by automatic mixed precision, divided under
    gradient accumulation and averaged over GPUs exactly as those are.

    Examples
    --------
    ``custom_imports = dict(imports=['necks'])`` and ``custom_hooks = [dict(type='AuxiliaryLossHook')]`` in an mmengine config.
    """

    def before_train(self, runner: Runner) -> None:
        """Attach the terms to the model inside any distributed wrapper."""
        add_auxiliary_losses(runner.model.module if is_model_wrapper(runner.model) else runner.model)


def add_auxiliary_losses(model: nn.Module) -> None:
    """Let `model`, called with ``mode='loss'``, return the auxiliary losses of its parts beside its own.

    Parameters
    ----------
    model : nn.Module
        A detector or segmentor whose forward returns a dict of losses in that mode.
    """
    parts = [part for part in model.modules() if isinstance(part, HasAuxiliaryLosses)]

    def extend(_model: nn.Module, _arguments: tuple, output: object) -> object:
        if not isinstance(output, dict):
            return output
        losses = dict(output)
        for part in parts:
            for name, value in part.auxiliary_losses().items():
                losses[name] = losses.get(name, 0) + value
        return losses

    if parts:
        model.register_forward_hook(extend)
