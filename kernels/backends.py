"""Which backend computes an operator: the device decides, unless the environment variable names one."""

import importlib
import os
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

BACKENDS = ("reference", "cpu", "triton")
VARIABLE = "FEATURE_PYRAMIDS_BACKEND"


def backend_for(tensor: Tensor) -> ModuleType:
    """The backend package that computes with this tensor.

    Parameters
    ----------
    tensor : Tensor
        Any argument of the operator.

    Raises
    ------
    RuntimeError
        If the environment variable `VARIABLE` names a backend that does not exist or cannot compute on the tensor's device.
    """
    name = os.environ.get(VARIABLE, "")
    if not name:
        return _default(tensor.device.type)
    if name not in BACKENDS:
        raise RuntimeError(f"{VARIABLE} is {name!r}; allowed: {', '.join(BACKENDS)}")
    backend = _load(name)
    unavailable_reason = backend.unavailable_reason(tensor.device.type)
    if unavailable_reason:
        raise RuntimeError(f"{VARIABLE} is {name!r}, but {unavailable_reason}")
    return backend


@cache
def _default(device: str) -> ModuleType:
    name = {"cpu": "cpu", "cuda": "triton"}.get(device, "reference")
    backend = _load(name)
    unavailable_reason = backend.unavailable_reason(device)
    if not unavailable_reason:
        return backend
    warnings.warn(f"kernels: {unavailable_reason}; the much slower reference operators are used", stacklevel=4)
    return _load("reference")


@cache
def _load(name: str) -> ModuleType:
    return importlib.import_module(f"kernels.{name}")


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that sums are taken in: float32 for half precision, else the tensor's own."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype
