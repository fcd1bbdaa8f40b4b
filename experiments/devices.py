"""The GPUs of this machine that a process may use, by the names that CUDA and `nvidia-smi` share."""

import os
import re
import subprocess
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"
LIST = ("nvidia-smi", "-L")
# Lines of the list: a GPU, and below it its MIG instances, indented.
DEVICE = re.compile(r"^(?P<indent>\s*)(?:GPU \d+|MIG ).*\(UUID: (?P<uuid>[^)]+)\)")


def visible_devices() -> list[str]:
    """The devices that this process may use, in CUDA's form; empty without GPUs.

    UUIDs where `nvidia-smi` tells them, so that a device has one name whatever the environment calls it: an index counts in the
    order of `nvidia-smi`. A GPU that is divided (MIG) stands as its instances. Elsewhere what ``CUDA_VISIBLE_DEVICES`` names.
    """
    gpus = _listed_gpus()
    asked = os.environ.get(VISIBLE)
    if asked is None:
        return [device for instances in gpus.values() for device in instances]
    return _named([entry.strip() for entry in asked.split(",") if entry.strip()], gpus)


def _listed_gpus() -> dict[str, list[str]]:
    """UUID of each GPU to its instances, or to itself where it is not divided; empty without `nvidia-smi`."""
    try:
        listed = subprocess.run(LIST, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    gpus: dict[str, list[str]] = {}
    for line in listed.splitlines():
        found = DEVICE.match(line)
        if found and not found["indent"]:
            gpus[found["uuid"]] = []
        elif found and gpus:
            gpus[next(reversed(gpus))].append(found["uuid"])
    return {gpu: instances or [gpu] for gpu, instances in gpus.items()}


def _named(entries: Sequence[str], gpus: dict[str, list[str]]) -> list[str]:
    """The devices of entries of ``CUDA_VISIBLE_DEVICES``; as for CUDA, what follows one that does not exist is hidden."""
    if not gpus:
        return [] if "-1" in entries[:1] else list(entries)
    every = [device for instances in gpus.values() for device in instances]
    devices: list[str] = []
    for entry in entries:
        if entry.isdigit() and int(entry) < len(gpus):
            found = list(gpus.values())[int(entry)]
        else:
            # CUDA takes the beginning of a UUID for the whole.
            found = [device for device in every if device.startswith(entry) and not entry.isdigit()]
        if not found:
            break
        devices += found
    return list(dict.fromkeys(devices))
