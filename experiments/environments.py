"""The two environments: the one of the trainings, with torch, and Snakemake's, which lies inside it and has none."""

import importlib.util
import sys
from pathlib import Path

# Folder of Snakemake's environment inside the other, as envs/setup.sh makes it.
INNER = "snakemake"


def training_programs() -> Path:
    """The folder of the programs with which rules run: the trainings' environment's, or this one's where there is no other."""
    outer = Path(sys.prefix).parent / "bin"
    return outer if Path(sys.prefix).name == INNER and (outer / "python").exists() else Path(sys.executable).parent


def snakemake_python() -> Path:
    """The Python that has Snakemake: that of the inner environment, or this one where there is none."""
    inner = Path(sys.prefix) / INNER / "bin/python"
    return inner if inner.exists() else Path(sys.executable)


def package_folder(name: str) -> Path | None:
    """Where a package's files lie, here or in the trainings' environment; it is not imported.

    Parameters
    ----------
    name : str
        Name of the package.
    """
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:
        return Path(found.origin).parent
    return next(training_programs().parent.glob(f"lib/python3*/site-packages/{name}"), None)
