"""Two runs side by side: metrics with intervals over images, classes, cost of training."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich import box
from rich.markup import escape
from rich.table import Table

from experiments.bootstrap.intervals import Interval, image_intervals
from experiments.bootstrap.resamples import BOOTSTRAP_FILE, read_replicates
from experiments.cli.console import make_console
from experiments.errors import UserError
from experiments.paths import RUNS, metrics_file, run_folder
from experiments.records.metrics_file import RunMetrics, read_metrics
from experiments.records.recorded_times import duration
from experiments.spec.metrics import METRICS
from experiments.workflow.grid import Grid

# Classes with the largest gains, and with the largest losses.
LISTED_CLASSES = 5


@dataclass(frozen=True)
class Difference:
    """One metric of two runs.

    Attributes
    ----------
    name : str
        The metric, or class and metric.
    one, other : float or None
        Its values.
    interval : Interval
        Of the difference, over images.
    """

    name: str
    one: float | None
    other: float | None
    interval: Interval = field(default_factory=Interval)

    @property
    def gain(self) -> float | None:
        """The other run's value minus the first one's."""
        return None if self.one is None or self.other is None else self.other - self.one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``compare``."""
    parser.add_argument("one", help="id of a finished run, a folder of runs/")
    parser.add_argument("other", help="the one that is compared with it")


def main(grid: Grid, arguments: argparse.Namespace) -> None:
    """Two finished runs side by side: metrics, classes, training.

    Parameters
    ----------
    grid : Grid
        The configuration, whose rows name runs.
    arguments : Namespace
        From `add_arguments`.

    Raises
    ------
    UserError
        If a run has not finished, or they were tested on different images.
    """
    one, other = _read(arguments.one), _read(arguments.other)
    if one.dataset and other.dataset and one.dataset.val != other.dataset.val:
        raise UserError(f"runs {one.run} and {other.run} were tested on different images, so their difference says nothing")
    console = make_console()
    for metrics in (one, other):
        console.print(escape(_in_words(metrics, grid)), highlight=False)
    console.print(_table(list(metric_differences(one, other)), "metric"))
    if classes := list(class_differences(one, other)):
        console.print(_table(classes, "class"))
    console.print(
        "The interval of 95 % is over images: whether these two checkpoints differ on images like these. Two necks differ if"
        " their gain over several seeds does: see the tables.",
        highlight=False,
    )


def metric_differences(one: RunMetrics, other: RunMetrics) -> Iterator[Difference]:
    """The metrics that both runs have, with intervals where both have left resamples.

    Parameters
    ----------
    one, other : RunMetrics
        The runs.
    """
    drawn = [read_replicates(run_folder(metrics.run) / BOOTSTRAP_FILE) or {} for metrics in (one, other)]
    for name in one.metrics:
        if name not in other.metrics:
            continue
        interval = Interval()
        if name in drawn[0] and name in drawn[1] and not _measures_its_training_images(one):
            (interval,) = image_intervals([drawn[1][name] - drawn[0][name]])
        yield Difference(name, one.metrics[name], other.metrics[name], interval)


def class_differences(one: RunMetrics, other: RunMetrics) -> Iterator[Difference]:
    """The classes that gain and lose most, in their first metric.

    Parameters
    ----------
    one, other : RunMetrics
        The runs.
    """
    found = []
    for name in one.classes.keys() & other.classes.keys():
        for metric in list(one.classes[name])[:1]:
            difference = Difference(f"{name}, {metric}", one.classes[name][metric], other.classes[name].get(metric))
            found += [(difference.gain, difference)] if difference.gain is not None else []
    ordered = [difference for _, difference in sorted(found, key=lambda pair: (-pair[0], pair[1].name))]
    if len(ordered) > 2 * LISTED_CLASSES:
        ordered = [*ordered[:LISTED_CLASSES], *ordered[-LISTED_CLASSES:]]
    yield from ordered


def _measures_its_training_images(metrics: RunMetrics) -> bool:
    return metrics.dataset is not None and metrics.dataset.train == metrics.dataset.val


def _read(run: str) -> RunMetrics:
    metrics = read_metrics(metrics_file(run))
    if metrics is None:
        finished = sorted(path.parent.name for path in RUNS.glob("*/metrics.json"))
        raise UserError(f"run {run} has not finished; finished are: {', '.join(finished) or 'none'}")
    return metrics


def _in_words(metrics: RunMetrics, grid: Grid) -> str:
    rows = dict.fromkeys(label for _, label in grid.rows_of_runs(grid.tables).get(metrics.run, []))
    seconds = metrics.provenance.whole_seconds
    took = "" if seconds is None else f", trained in {duration(seconds)}"
    return f"{metrics.run}: {', '.join(rows) or 'no row of this configuration'}, seed {metrics.provenance.seed}{took}"


def _table(differences: list[Difference], heading: str) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column(heading)
    for name in ("one", "other", "difference", "interval"):
        shown.add_column(name, justify="right")
    for difference in differences:
        unit = METRICS[difference.name].unit if difference.name in METRICS else 1.0
        interval = difference.interval
        shown.add_row(
            escape(difference.name),
            *("–" if value is None else f"{value / unit:.2f}" for value in (difference.one, difference.other)),
            "–" if difference.gain is None else f"{difference.gain / unit:+.2f}",
            f"{interval.low / unit:+.2f} to {interval.high / unit:+.2f}" if interval.is_known else "",
        )
    return shown
