"""The process group of a training."""

import os

import torch
from mmengine.config import Config
from mmengine.dist import init_dist


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
