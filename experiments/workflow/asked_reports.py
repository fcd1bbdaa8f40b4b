"""Files that a user asks Snakemake for -> the reports that they belong to."""

from collections.abc import Collection, Iterable
from pathlib import Path

from experiments.paths import FIGURES, REPORTS

TABLES, DATA = REPORTS, REPORTS / "data"
EVERYWHERE = (TABLES, DATA, FIGURES)


def asked_reports(files: Iterable[str], reports: Collection[str], folders: Collection[Path] = EVERYWHERE) -> frozenset[str]:
    """Names of the reports to which files belong.

    Of reports of which one's name begins with another's, such as ``necks`` and ``necks_wide``, a file belongs to the longest
    that fits.

    Parameters
    ----------
    files : iterable of str
        Files and rules as they are asked for, relative to the project.
    reports : collection of str
        Names of all reports.
    folders : collection of Path
        Where files count.
    """
    names = [path.name.partition(".")[0] for path in map(Path, files) if path.parent in folders]
    fitting = [[report for report in reports if name == report or name.startswith(f"{report}_")] for name in names]
    return frozenset(max(found, key=len) for found in fitting if found)
