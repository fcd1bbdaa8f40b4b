"""A copy of the project in which commands can be run without touching what was computed here."""

import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "experiments", "necks", "kernels", "reports", "profiles", "slurm", "envs")
GENERATED_REPORTS = shutil.ignore_patterns("data", "figures", "examples", "*.md", "*.html", "*.tex", "*.csv")


def copy_project(folder: Path) -> None:
    """Copy what Snakemake needs into a folder, without anything computed.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=_not_copied)
        else:
            shutil.copy(PROJECT / name, folder)


def _not_copied(folder: str, names: list[str]) -> set[str]:
    generated = GENERATED_REPORTS(folder, names) if Path(folder) == PROJECT / "reports" else set()
    return generated | ({"__pycache__"} & set(names))
