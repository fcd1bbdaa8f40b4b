"""Which backend computes an operator: the device decides, unless the environment variable names one."""

import importlib
import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

BACKENDS = ("reference", "cpu", "triton")
VARIABLE = "FEATURE_PYRAMIDS_BACKEND"


class Backend(Protocol):
    """What every backend package defines: each operator forward and backward, writing into tensors that exist already.

    Shapes and meanings are those of `kernels.reassemble` and `kernels.deformable_aggregate`.
    """

    def unavailable_reason(self, device: str) -> str | None:
        """Why this backend cannot compute on a type of device; None if it can."""

    def reassemble(self, features: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int) -> None:
        """Write the reassembled map to `output`."""

    def reassemble_features_gradient(
        self, gradient: Tensor, kernels: Tensor, output: Tensor, up: int, down: int, groups: int
    ) -> None:
        """Write the features' gradient to `output`, given the output's."""

    def reassemble_kernels_gradient(
        self, gradient: Tensor, features: Tensor, output: Tensor, up: int, down: int, groups: int
    ) -> None:
        """Write the kernels' gradient to `output`, given the output's."""

    def deformable_aggregate(
        self, values: Tensor, offsets: Tensor, modulation: Tensor, output: Tensor, offset_scale: float
    ) -> None:
        """Write the aggregated map to `output`."""

    def deformable_aggregate_backward(
        self,
        gradient: Tensor,
        values: Tensor,
        offsets: Tensor,
        modulation: Tensor,
        gradients: tuple[Tensor, Tensor, Tensor],
        offset_scale: float,
    ) -> None:
        """Write the gradients of values, offsets and modulation to `gradients`, given the output's."""


def backend_for(tensor: Tensor) -> Backend:
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
def _default(device: str) -> Backend:
    name = {"cpu": "cpu", "cuda": "triton"}.get(device, "reference")
    backend = _load(name)
    unavailable_reason = backend.unavailable_reason(device)
    if not unavailable_reason:
        return backend
    warnings.warn(f"kernels: {unavailable_reason}; the much slower reference operators are used", stacklevel=4)
    return _load("reference")


@cache
def _load(name: str) -> Backend:
    return cast(Backend, importlib.import_module(f"kernels.{name}"))


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that sums are taken in: float32 for half precision, else the tensor's own."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


if TYPE_CHECKING:
    from kernels import cpu, reference, triton

    # Lets type checkers compare the packages with the protocol.
    _CPU: Backend = cpu
    _REFERENCE: Backend = reference
    _TRITON: Backend = triton
