"""This machine: its processor, and the width of the vectors that libraries use of it."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """Name of this machine's processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


# The same instructions for torch's own loops, for oneDNN's convolutions and for MKL's products of matrices. MKL knows no AVX2
# that is the same on processors of all makers; COMPATIBLE is.
_VARIABLES = {256: {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}}


def vector_variables(width: int | None) -> dict[str, str]:
    """The environment variables that fix the width of vectors in a process that starts with them; none for None.

    Parameters
    ----------
    width : int or None
        Bits.
    """
    return {} if width is None else _VARIABLES[width]


def fixed_vector_width() -> int | None:
    """Bits of the vectors that this process was started with, see `vector_variables`."""
    fits = (width for width, variables in _VARIABLES.items() if variables.items() <= os.environ.items())
    return next(fits, None)
