"""Snakemake resources and the launch command of a training."""

import math
import re
from collections.abc import Mapping
from typing import Any

from experiments.machine import vector_variables
from experiments.spec.scale import Scale

# Resources that say nothing new.
DERIVED = re.compile("_.*|tmpdir|mem|mem_mib|disk.*")


def launcher(scale: Scale) -> str:
    """What follows ``env`` to start a training: variables, the choice of free GPUs, and one process or one per GPU.

    Parameters
    ----------
    scale : Scale
        The scale that the training runs at.
    """
    gpus = scale.resources.gpus
    variables = [f"{name}={value}" for name, value in vector_variables(scale.resources.vector_width).items()]
    on_devices = [f"python -m experiments.training.on_devices {gpus}"] if gpus else []
    return " ".join([*variables, *on_devices, "python" if gpus <= 1 else f"python -m experiments.training.launch {gpus}"])


def resources_per_attempt(scale: Scale, is_dry_run: bool) -> dict[str, Any]:
    """Memory (MB) and time limit (minutes) of a training: the scale's at the first attempt, growing to twice that with retries.

    A dry run has one attempt and needs no temporary folder, so it gets constants; three functions per run would take a seventh
    of its time.

    Parameters
    ----------
    scale : Scale
        The scale that the training runs at.
    is_dry_run : bool
        Whether Snakemake plans only.
    """
    memory, minutes = scale.resources.memory_mb, scale.resources.runtime_minutes
    if is_dry_run:
        return {"mem_mb": memory, "runtime": minutes, "tmpdir": None}
    return {
        "mem_mb": lambda _wildcards, attempt: _scaled(memory, attempt),
        "runtime": lambda _wildcards, attempt: _scaled(minutes, attempt),
    }


def gpu_resources(scale: Scale) -> dict[str, int]:
    """Snakemake resources of a job on GPUs; empty without GPUs.

    On one machine as many run at once as its GPUs allow, each on GPUs of its own (`experiments.training.on_devices`). One
    process starts those of all GPUs: one task, not one per GPU, and all GPUs in one machine.

    Parameters
    ----------
    scale : Scale
        The scale that the job runs at.
    """
    gpus = scale.resources.gpus
    return {"gpu": gpus, "tasks_per_gpu": 0, "nodes": 1} if gpus else {}


def resources_in_words(resources: Mapping[str, object]) -> str:
    """The resources of a job for people, such as ``mem_mb=64000, runtime=2880, gpu=4``; without those that Snakemake derives.

    Parameters
    ----------
    resources : mapping
        Name to value.
    """
    return ", ".join(f"{name}={value}" for name, value in resources.items() if not DERIVED.fullmatch(name))


def _scaled(value: int, attempt: int) -> int:
    return math.ceil(value * min(1 + (attempt - 1) / 2, 2))
