"""The operators that feature-pyramid necks need and torch lacks: one public function each, backends behind it."""

from kernels.deformable_aggregate import deformable_aggregate
from kernels.reassemble import reassemble

__all__ = ["deformable_aggregate", "reassemble"]
