"""What the registrations of all operators share: how torch calls them, the memory format of results, the rule for autocast."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.library import Library, infer_schema, register_autograd

NAMESPACE = "feature_pyramids"
_library = Library(NAMESPACE, "FRAGMENT")


def operator(name: str) -> Callable[[Callable], torch._ops.OpOverload]:
    """Decorate a function that becomes an operator of torch on all devices; it changes no argument and returns new tensors.

    Called, it costs four fifths of what `torch.library.custom_op` does, which looks for changed arguments every time.

    Parameters
    ----------
    name : str
        The operator is ``torch.ops.feature_pyramids.<name>``.
    """

    def register(function: Callable) -> torch._ops.OpOverload:
        _library.define(name + infer_schema(function, mutates_args=()), tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, function, "CompositeExplicitAutograd")
        overload: torch._ops.OpOverload = getattr(getattr(torch.ops, NAMESPACE), name).default
        return overload

    return register


def refuse_second_derivatives(gradient: torch._ops.OpOverload) -> None:
    """Let the derivative of an operator's gradient be an error with a name.

    Parameters
    ----------
    gradient : OpOverload
        The operator that computes another one's gradients, called ``<name>_backward``.
    """
    name = gradient._schema.name.partition("::")[2].removesuffix("_backward")

    def refuse(ctx, *_: Tensor) -> None:
        raise NotImplementedError(f"{name}: second derivatives are not available")

    register_autograd(gradient, refuse, setup_context=lambda ctx, inputs, output: None)


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


def register_autocast(operator: torch._ops.OpOverload) -> None:
    """Under autocast, give the operator its first argument in the autocast dtype and the others as they are.

    The first argument is the map that is read, by far the largest; weights and coordinates keep their precision, and so does
    a map in float64.

    Parameters
    ----------
    operator : OpOverload
        From `operator`.
    """
    name = operator._schema.name.partition("::")[2]
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _library.impl(name, _with_cast_map(operator, device), key)


def _with_cast_map(overload: torch._ops.OpOverload, device: str):
    def call(features: Tensor, *others: object) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return overload(features if features.dtype == torch.float64 else features.to(dtype), *others)

    return call
