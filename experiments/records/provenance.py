"""Where a run's numbers come from: commit, sources, packages, machine."""

import hashlib
import importlib.metadata
import os
import platform
import resource
import socket
import subprocess
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from experiments.machine import fixed_vector_width, processor


def commit() -> dict[str, Any]:
    """The project's git commit, and whether the files are as committed; None without git."""
    at = _git("rev-parse", "HEAD")
    return {"commit": at, "clean": None if at is None else _git("status", "--porcelain") == ""}


def versions() -> dict[str, str]:
    """Version of every installed package."""
    return {package.name: package.version for package in sorted(importlib.metadata.distributions(), key=lambda p: p.name)}


def hardware() -> dict[str, Any]:
    """The machine: host, system, processor and the vectors used of it, cores, main memory in GiB, the GPUs that are seen."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": processor(),
        "vector_width": fixed_vector_width(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "processes": get_world_size(),
    }


def peak_memory_gib() -> float:
    """Peak memory of this process in GiB: GPU memory if it uses a GPU, else main memory."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
