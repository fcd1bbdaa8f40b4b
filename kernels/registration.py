"""What the registrations of all operators share: the memory format of results, and the rule for autocast."""

import torch
from torch import Tensor
from torch.library import CustomOpDef, Library

_library = Library("feature_pyramids", "FRAGMENT")


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised map of this shape on the device and in the memory format of another.

    Parameters
    ----------
    like : Tensor
        A map, (N, C, H, W).
    shape : tuple of int
        Shape of the result, four dimensions.
    dtype : torch.dtype, optional
        Data type; by default that of `like`.
    """
    channels_last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=memory_format)


def register_autocast(operator: CustomOpDef) -> None:
    """Under autocast, give the operator its first argument in the autocast dtype and the others as they are.

    The first argument is the map that is read, by far the largest; weights and coordinates keep their precision, and so does
    a map in float64.

    Parameters
    ----------
    operator : CustomOpDef
        The operator, registered for all devices.
    """
    overload = operator._opoverload
    name = overload._schema.name.partition("::")[2]
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _library.impl(name, _with_cast_map(overload, device), key)


def _with_cast_map(overload: torch._ops.OpOverload, device: str):
    def call(features: Tensor, *others: object) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return overload(features if features.dtype == torch.float64 else features.to(dtype), *others)

    return call
