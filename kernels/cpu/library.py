"""Where the compiled operators lie, and what identifies them: source, flags, torch's version, the machine's capability."""

import hashlib
import platform
from functools import cache
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
COMMON_FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wno-psabi", "-fno-math-errno", "-fno-trapping-math"),
    "-DTORCH_TARGET_VERSION=0x020d000000000000",  # torch 2.13
)
# One library per CPU capability, so that different machines can share a folder.
CAPABILITIES = {"avx2": ("-mavx2", "-mfma", "-mf16c"), "default": ()}


def cpu_capability() -> str:
    """What torch sees that the machine can do, a key of `CAPABILITIES`; ATEN_CPU_CAPABILITY=default makes it see less."""
    return "avx2" if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else "default"


@cache
def library_path(capability: str) -> Path:
    """The library that fits the source and torch's version, whether it is built or not.

    Parameters
    ----------
    capability : str
        Key of `CAPABILITIES`.
    """
    identity = hashlib.sha256(f"{COMMON_FLAGS} {CAPABILITIES[capability]}".encode())
    for file in [*source_files(), *header_files()]:
        identity.update(file.read_bytes())
    return FOLDER / "libraries" / f"{_prefix(capability)}{identity.hexdigest()[:12]}.so"


def other_builds(capability: str) -> list[Path]:
    """Libraries of the same capability, processor family and version of torch, built of other source.

    Parameters
    ----------
    capability : str
        Key of `CAPABILITIES`.
    """
    target = library_path(capability)
    return [path for path in target.parent.glob(f"{_prefix(capability)}*.so") if path != target]


def _prefix(capability: str) -> str:
    return f"{capability}-{platform.machine()}-torch{torch.__version__}-"


def source_files() -> list[Path]:
    """What is compiled."""
    return sorted(FOLDER.glob("*.cpp"))


def header_files() -> list[Path]:
    """What the sources include."""
    return sorted(FOLDER.glob("*.h"))
