"""The operators that feature-pyramid necks need and torch lacks: one public function each, backends behind it."""

from kernels.reassemble import reassemble

__all__ = ["reassemble"]
