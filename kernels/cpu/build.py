"""Build the C++ operators, once at set-up: python -m kernels.cpu.build."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

from kernels.cpu.library import CAPABILITIES, COMMON_FLAGS, library_path, other_builds, source_files


def capabilities_of_processor_family() -> list[str]:
    """Keys of `CAPABILITIES` that compilers for this family of processors know."""
    return list(CAPABILITIES) if platform.machine().lower() in ("x86_64", "amd64") else ["default"]


def start_build(capability: str) -> subprocess.Popen:
    """Start the compiler for one capability.

    Parameters
    ----------
    capability : str
        Key of `CAPABILITIES`.

    Raises
    ------
    OSError
        If there is no compiler.
    """
    libraries = Path(torch.__file__).parent / "lib"
    command = [
        *shlex.split(os.environ.get("CXX", "c++")),
        *COMMON_FLAGS,
        *CAPABILITIES[capability],
        *(f"-I{folder}" for folder in include_paths()),
        *map(str, source_files()),
        *("-o", str(_temporary(capability)), f"-L{libraries}", "-ltorch_cpu", "-lc10"),
    ]
    return subprocess.Popen(command)


def finish_build(capability: str) -> None:
    """Put what the compiler wrote in its place and remove what was built of older source.

    Parameters
    ----------
    capability : str
        Key of `CAPABILITIES`.
    """
    # Rename when complete, so that no process loads half a library.
    _temporary(capability).rename(library_path(capability))
    for outdated in other_builds(capability):
        outdated.unlink(missing_ok=True)


def _temporary(capability: str) -> Path:
    return library_path(capability).with_suffix(f".{platform.node()}.{os.getpid()}")


def main() -> None:
    """Build what is missing, side by side."""
    missing = [name for name in capabilities_of_processor_family() if not library_path(name).exists()]
    if not missing:
        return
    try:
        library_path("default").parent.mkdir(exist_ok=True)
        compilers = {name: start_build(name) for name in missing}
    except OSError as error:
        sys.exit(f"error: the C++ operators were not built: {error}; install a C++ compiler or name it: CXX=/path/to/c++")
    failed = [name for name, compiler in compilers.items() if compiler.wait()]
    for name in missing:
        if name in failed:
            _temporary(name).unlink(missing_ok=True)
        else:
            finish_build(name)
    if failed:
        sys.exit(f"error: the C++ operators were not built for {', '.join(failed)}; the compiler's messages are above")


if __name__ == "__main__":
    main()
