"""The process group of a training, and the model that its processes share."""

import os

import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, where several processes share its training by a wrapper.

    Parameters
    ----------
    model : nn.Module
        A runner's model.
    """
    return model.module if is_model_wrapper(model) else model


def join_processes(config: Config) -> None:
    """Join the process group that torchrun has started: one GPU per rank, or all ranks on the CPU.

    Parameters
    ----------
    config : Config
        A run's config; the launcher is set in place.
    """
    if "LOCAL_RANK" not in os.environ:
        return
    config.launcher = "pytorch"
    if torch.cuda.is_available():
        init_dist(config.launcher, **config.env_cfg.dist_cfg)
        return
    torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": config.get("find_unused_parameters", False),
    }
