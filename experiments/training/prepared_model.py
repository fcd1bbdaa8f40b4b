"""A model as a training computes with it: with what the hooks of its config change in it before the first step."""

from types import SimpleNamespace
from typing import cast

from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from experiments.training.hooks.bfloat16 import HeadPrecisionHook
from experiments.training.hooks.cpu_operators import CPUOperatorsHook
from experiments.training.hooks.gpu_arithmetic import GpuArithmeticHook, RepeatableGpuHook
from experiments.training.hooks.memory import ChannelsLastHook, GradientCheckpointingHook
from necks.auxiliary_loss_hook import AuxiliaryLossHook

HOOKS_OF_MODELS = (
    AuxiliaryLossHook,
    HeadPrecisionHook,
    CPUOperatorsHook,
    GpuArithmeticHook,
    RepeatableGpuHook,
    ChannelsLastHook,
    GradientCheckpointingHook,
)


def prepare_model(model: nn.Module, config: Config) -> None:
    """Change a model as a training does: its losses, precision, operators, memory format, what it keeps for gradients.

    Parameters
    ----------
    model : nn.Module
        Built from the config, on its device; changed in place.
    config : Config
        A run's.
    """
    runner = cast(Runner, SimpleNamespace(model=model, cfg=config))
    for entry in config.custom_hooks:
        if HOOKS.get(entry["type"]) in HOOKS_OF_MODELS:
            hook = HOOKS.build(entry)
            hook.before_run(runner)
            hook.before_train(runner)
