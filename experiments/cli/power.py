"""How many seeds each published gain takes to be shown, and what they cost: ``plan --power``."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from experiments.bootstrap.intervals import pooled_noise
from experiments.cost.power import MOST_SEEDS, POWER, seeds_needed
from experiments.errors import UserError
from experiments.records.run_status import RunStatus
from experiments.spec.metrics import METRICS
from experiments.spec.run import Run
from experiments.spec.scale import Scale
from experiments.spec.study import Table
from experiments.workflow.grid import Grid


@dataclass(frozen=True)
class Claim:
    """A published gain, and what it takes to show it.

    Attributes
    ----------
    report, row, against, metric : str
        The table, the row, its baseline, the metric.
    gain : float
        As published.
    deviation : float
        Standard deviation over seeds.
    is_measured : bool
        Whether it is that of the table's own runs, else the scale's assumption.
    seeds : int or None
        Of each of the two rows; None for more than `MOST_SEEDS`.
    hours : float or None
        GPU hours, or core hours, of these runs.
    """

    report: str
    row: str
    against: str
    metric: str
    gain: float
    deviation: float
    is_measured: bool
    seeds: int | None
    hours: float | None


@dataclass(frozen=True)
class SeedList:
    """The seeds with which a table shows gains of some size.

    Attributes
    ----------
    report : str
        The table.
    metric : str
        The metric with the largest deviation.
    deviation : float
        Its standard deviation over seeds.
    seeds : int or None
        Of each row; None for more than `MOST_SEEDS`.
    """

    report: str
    metric: str
    deviation: float
    seeds: int | None


class PowerPlanner:
    """Seeds that the gains of a configuration's tables take.

    Parameters
    ----------
    grid : Grid
        The configuration's grid.
    statuses : dict
        Id to status of each run.
    """

    def __init__(self, grid: Grid, statuses: Mapping[str, RunStatus]) -> None:
        self._grid, self._statuses = grid, statuses

    def claims(self, hours_of: Callable[[Run], float]) -> Iterator[Claim]:
        """Every published gain that can be measured here.

        Parameters
        ----------
        hours_of : callable
            Hours of a run.

        Yields
        ------
        Claim
            In the order of the tables, their tested metrics and their rows.

        Raises
        ------
        UserError
            If nothing is known of the noise.
        """
        for report in self._grid.tables:
            table = self._grid.table(report)
            rows_that_run = len(table.settings)
            for metric in self._tested(table):
                claimed = list(_published_gains(table, metric))
                if not claimed:
                    continue
                deviation, is_measured = self.deviation(report, metric)
                for row, against, gain in claimed:
                    settings = [table.rows[index].setting for index in (row, against)]
                    runs = [Run(setting, self._grid.scale, 0) for setting in settings if setting]
                    seeds = seeds_needed(gain, deviation, rows_that_run) if gain else None
                    yield Claim(
                        report,
                        table.rows[row].label,
                        table.rows[against].label,
                        metric,
                        gain,
                        deviation,
                        is_measured,
                        seeds,
                        None if seeds is None else seeds * sum(map(hours_of, runs)),
                    )

    def seeds_for(self, gain: float) -> Iterator[SeedList]:
        """The seeds with which each table shows a gain.

        Parameters
        ----------
        gain : float
            The gain, in the unit of the metrics.

        Yields
        ------
        SeedList
            One for each table with a tested metric and two rows that can be run.
        """
        for report in self._grid.tables:
            table = self._grid.table(report)
            if len(table.settings) < 2 or not self._tested(table):
                continue
            deviation, metric = max((self.deviation(report, metric)[0], metric) for metric in self._tested(table))
            yield SeedList(report, metric, deviation, seeds_needed(gain, deviation, len(table.settings)))

    def deviation(self, report: str, metric: str) -> tuple[float, bool]:
        """Standard deviation over seeds, pooled over a table's rows, and whether it was measured or is the scale's assumption.

        Parameters
        ----------
        report : str
            The table.
        metric : str
            The metric.

        Raises
        ------
        UserError
            If neither is known.
        """
        unit, samples = METRICS[metric].unit, []
        for setting in self._grid.table(report).settings:
            runs = [Run(setting, self._grid.scale, seed).id for seed in self._grid.configuration.seeds]
            found = [self._statuses[run].metrics.get(metric) for run in runs if self._statuses[run].state == "done"]
            samples.append(np.array([value / unit for value in found if value is not None], float))
        noise = pooled_noise(samples)
        if noise.freedom:
            return noise.deviation, True
        if self._grid.scale.assumed_seed_sd is None:
            raise UserError(
                f"experiments/scales/{self._grid.scale.name}.yaml: assumed_seed_sd: is missing, and no row of {report} has two"
                " finished seeds; give the standard deviation over seeds that you expect, or train with two seeds"
            )
        return self._grid.scale.assumed_seed_sd, False

    @staticmethod
    def _tested(table: Table) -> list[str]:
        return [metric for metric in table.columns if METRICS[metric].is_tested]


def _published_gains(table: Table, metric: str) -> Iterator[tuple[int, int, float]]:
    """Row, baseline and published gain, where both rows can be run and were published."""
    for index, (row, baseline) in enumerate(zip(table.rows, table.baselines, strict=True)):
        gain = table.published_gain(metric, index, baseline)
        if gain is not None and baseline is not None and row.setting and table.rows[baseline].setting:
            yield index, baseline, gain


def claims_table(claims: list[Claim], scale: Scale) -> RichTable:
    """The claims for people.

    Parameters
    ----------
    claims : list of Claim
        From `PowerPlanner.claims`.
    scale : Scale
        The scale, which trains on GPUs or cores.
    """
    shown = RichTable(box=box.SIMPLE_HEAD)
    for heading in ("table", "gain of", "over", "metric"):
        shown.add_column(heading)
    for heading in ("published", "σ", "seeds a row", "GPU-hours" if scale.resources.gpus else "core-hours"):
        shown.add_column(heading, justify="right")
    for claim in claims:
        names = (claim.report, claim.row, claim.against, METRICS[claim.metric].short_label)
        deviation = f"{claim.deviation:.2g}{'' if claim.is_measured else ' assumed'}"
        hours = "" if claim.hours is None else f"{claim.hours:,.0f}" if claim.hours >= 10 else f"{claim.hours:.1f}"
        shown.add_row(*map(escape, names), f"{claim.gain:+g}", deviation, seeds_in_words(claim), hours)
    return shown


def seeds_in_words(claim: Claim) -> str:
    """The number of seeds, or why there is none.

    Parameters
    ----------
    claim : Claim
        A published gain.
    """
    if not claim.gain:
        return "nothing claimed"
    return f"over {MOST_SEEDS}" if claim.seeds is None else str(claim.seeds)


def about_power() -> str:
    """What the numbers of seeds mean, in a sentence."""
    return (
        f"Seeds a row: to show a true gain as large as the published one with a chance of {POWER:.0%}, two-sided at 5 %,"
        " standard deviation σ over seeds pooled over the rows of the table. A printed gain is the difference of two rounded"
        " runs: ± 0.1."
    )
