"""What a user asks Snakemake for: files and rules, and the reports and runs that they belong to."""

from collections.abc import Callable, Collection, Iterable
from functools import cache, cached_property
from pathlib import Path

from experiments.paths import FIGURES, REPORTS
from experiments.workflow.grid import Grid

ALL = "all"
TABLES, DATA = REPORTS, REPORTS / "data"
EVERYWHERE = (TABLES, DATA, FIGURES)
# More ids do not fit into a command line.
NAMED_RUNS = 1000


def if_few(runs: list[str]) -> list[str]:
    """Runs, or nothing if they do not fit into a command line."""
    return runs if len(runs) <= NAMED_RUNS else []


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


class Asked:
    """What was asked for.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration.
    targets : callable
        Gives the requested files and rules; Snakemake knows them only when it builds its graph.
    """

    def __init__(self, grid: Grid, targets: Callable[[], Iterable[str]]) -> None:
        self.grid = grid
        self._targets = targets

    @cached_property
    def targets(self) -> frozenset[str]:
        """The requested files and rules; the rule ``all`` if none is named."""
        return frozenset(self._targets()) or frozenset({ALL})

    @cached_property
    def reports(self) -> frozenset[str]:
        """Names of the reports of which something is requested."""
        return frozenset(self.grid.tables) if ALL in self.targets else asked_reports(self.targets, self.grid.tables)

    @cache  # noqa: B019 - there is one object of this class, and it lives as long as its process
    def trains(self, report: str) -> bool:
        """Whether missing runs of a table are trained; not for a table about cost that is requested alone.

        Parameters
        ----------
        report : str
            The table's report name.
        """
        return (
            self.grid.table(report).is_trained_for_itself
            or ALL in self.targets
            or report in asked_reports(self.targets, self.grid.tables, (FIGURES,))
        )

    def runs(self) -> list[str]:
        """Ids of the requested runs, and of those that they begin with, sorted."""
        by_file = {str(run.metrics_file): run.id for run in self.grid.runs.values()}
        named = {by_file[target] for target in self.targets if target in by_file}
        reports = [report for report in self.grid.tables if report in self.reports]
        asked = named | {run.id for report in reports if self.trains(report) for run in self.grid.runs_of(report)}
        return sorted({each.id for run in asked for each in self.grid.runs[run].with_sources})
