"""The operators' definition: plain torch, for every device and dtype, deterministic on the CPU, not fast."""

from kernels.reference.deformable_aggregate import deformable_aggregate, deformable_aggregate_backward
from kernels.reference.reassemble import reassemble, reassemble_features_gradient, reassemble_kernels_gradient

__all__ = [
    "deformable_aggregate",
    "deformable_aggregate_backward",
    "reassemble",
    "reassemble_features_gradient",
    "reassemble_kernels_gradient",
    "unavailable_reason",
]


def unavailable_reason(device: str) -> None:
    """Why this backend cannot compute on a type of device: it can on all."""
