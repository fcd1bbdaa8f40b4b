"""The operators as Triton kernels, for CUDA devices; under Triton's interpreter for the CPU too, to test them there."""

import importlib.util

_INSTALLED = importlib.util.find_spec("triton") is not None

if _INSTALLED:
    from kernels.triton import tiles
    from kernels.triton.deformable_aggregate import deformable_aggregate, deformable_aggregate_backward
    from kernels.triton.reassemble import reassemble, reassemble_features_gradient, reassemble_kernels_gradient

__all__ = [
    "deformable_aggregate",
    "deformable_aggregate_backward",
    "reassemble",
    "reassemble_features_gradient",
    "reassemble_kernels_gradient",
    "unavailable_reason",
]


def unavailable_reason(device: str) -> str | None:
    """Why this backend cannot compute on a type of device; None if it can."""
    if not _INSTALLED:
        return "Triton is not installed"
    if device == "cuda" or (device == "cpu" and tiles.INTERPRETED):
        return None
    return f"the Triton backend computes on CUDA devices only, got {device}"
