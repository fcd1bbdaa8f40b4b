"""Small disks, which fill up soon."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Stands for the check of disk space in a project whose test is about something else.
ENOUGH_DISK = """
import sys
from pathlib import Path

Path(sys.argv[3]).write_text("{}")
"""


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk of its own at an empty folder, or skip the test where that is not allowed."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False, timeout=600
    )
    if made.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True, timeout=600)


def fill(folder: Path) -> Path:
    """Fill the disk of a folder to the last byte; the file that does it."""
    size, filler = 2**20, folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while size >= 1:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler
