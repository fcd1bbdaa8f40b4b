"""How far the runs are: running, failed, interrupted, done and queued, from what trainings leave in their folders."""

import argparse
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from experiments.cli.console import make_console
from experiments.errors import UserError
from experiments.records.progress_file import Progress
from experiments.records.recorded_times import duration
from experiments.records.run_status import STATES, RunReader, RunStatus, number
from experiments.spec.metrics import TASKS, Metric
from experiments.spec.run import Run
from experiments.workflow.grid import Grid, rows_in_words

# Above this number, finished and queued runs are only counted.
LISTED = 100
LISTED_OF_STATE = 50
COLOURS = {"running": "cyan", "failed": "red", "interrupted": "yellow", "done": "green", "queued": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``status``."""
    parser.add_argument("--watch", type=float, nargs="?", const=10, metavar="SECONDS", help="again and again, each 10 seconds")
    parser.add_argument("--report", help="only the runs of this table, such as table2")
    parser.add_argument("--failed", action="store_true", help="only failed runs, all of them")


def main(grid: Grid, arguments: argparse.Namespace) -> None:
    """How far each run is: epoch, time left, last metrics, reason of a failure.

    Parameters
    ----------
    grid : Grid
        The grid whose runs are shown.
    arguments : Namespace
        Parsed options, from `add_arguments`.

    Raises
    ------
    UserError
        If there is no such table, or the interval is not positive.
    """
    if arguments.report is not None and arguments.report not in grid.tables:
        raise UserError(f"--report {arguments.report}: no such table; allowed: {', '.join(grid.tables)}")
    if arguments.watch is not None and not arguments.watch > 0:
        raise UserError(f"--watch {arguments.watch:g}: expected a number of seconds above 0")
    console = make_console()
    named = row_names(grid, arguments.report)
    if arguments.watch is None:
        console.print(view(named, arguments.failed))
        return
    with suppress(KeyboardInterrupt):
        _watch(console, named, arguments)


def _watch(console: Console, named: list[tuple[Run, str]], arguments: argparse.Namespace) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            # 8 lines for counts, heading, rules and the line of runs not listed.
            live.update(view(named, arguments.failed, max(1, console.height - 8)), refresh=True)
            time.sleep(arguments.watch)


def row_names(grid: Grid, report: str | None = None) -> list[tuple[Run, str]]:
    """The runs of a grid, each with all rows that show it.

    Parameters
    ----------
    grid : Grid
        The configuration's grid.
    report : str, optional
        Restricts the list to this table.
    """
    rows = grid.rows_of_runs([report] if report else grid.tables)
    has_seeds = len(grid.configuration.seeds) > 1
    return [
        (grid.runs[run], rows_in_words(names) + (f", seed {grid.runs[run].seed}" if has_seeds else ""))
        for run, names in rows.items()
    ]


def view(named: list[tuple[Run, str]], failed_alone: bool = False, most_lines: int | None = None) -> Group:
    """The printed page: the number of runs in each state, the runs that need attention first, and damaged files.

    Parameters
    ----------
    named : list of (Run, str)
        Runs with their rows, from `row_names`.
    failed_alone : bool
        Whether only failed runs are listed, all of them.
    most_lines : int, optional
        Number of lines that fit on the screen.
    """
    records = RunReader()
    statuses = records.statuses(run for run, _ in named)
    names = {run.id: name for run, name in named}
    listed = _listed(statuses, failed_alone)[:most_lines]
    lines = _table(listed, names) if listed else ""
    counts = Counter(run_status.state for run_status in statuses)
    shown = Counter(run_status.state for run_status in listed)
    left_out = [f"{counts[state] - shown[state]} {state}" for state in STATES if counts[state] > shown[state]]
    parts = [f"{len(statuses)} runs: " + ", ".join(f"{counts[state]} {state}" for state in STATES), lines]
    if left_out and not failed_alone:
        parts.append(f"not listed: {', '.join(left_out)}; --failed lists all failed runs, --report one table")
    return Group(*parts, *(escape(problem) for problem in records.problems))


def _listed(statuses: list[RunStatus], failed_alone: bool) -> list[RunStatus]:
    ordered = sorted(statuses, key=lambda run_status: STATES.index(run_status.state))
    if failed_alone:
        return [run_status for run_status in ordered if run_status.state == "failed"]
    if len(statuses) <= LISTED:
        return ordered
    interesting = ("running", "failed", "interrupted")
    by_state = {state: [run_status for run_status in ordered if run_status.state == state] for state in interesting}
    return [run_status for of_state in by_state.values() for run_status in of_state[:LISTED_OF_STATE]]


def _table(statuses: list[RunStatus], names: dict[str, str]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("run", no_wrap=True)
    table.add_column("row", min_width=min(24, max(len(names[run_status.run.id]) for run_status in statuses)), overflow="fold")
    table.add_column("state", no_wrap=True)
    metrics = _shown_metrics(statuses)
    for heading in ("epoch", "left", *(metric.short_label for metric in metrics)):
        table.add_column(heading, justify="right", no_wrap=heading == "left")
    table.add_column("remark", overflow="fold")
    for run_status in statuses:
        state = f"[{COLOURS[run_status.state]}]{run_status.state}[/]"
        table.add_row(run_status.run.id, escape(names[run_status.run.id]), state, *_details(run_status, metrics))
    return table


def _shown_metrics(statuses: list[RunStatus]) -> list[Metric]:
    """The main metrics of the tasks of runs, each once."""
    metrics = dict.fromkeys(metric for run_status in statuses for metric in TASKS[run_status.run.task])
    return [metric for metric in metrics if metric.label]


def _details(run_status: RunStatus, metrics: list[Metric]) -> list[str]:
    """Epoch, time left, the last metrics and a remark."""
    progress = run_status.progress or Progress()
    epoch, epochs = progress.epoch, progress.max_epochs
    left = progress.seconds_left if run_status.state == "running" else None
    return [
        "" if epoch is None else f"{epoch}/{epochs}" if epochs is not None else f"{epoch}",
        "" if left is None else duration(left),
        *(_printed(run_status.metrics.get(metric.name), metric) for metric in metrics),
        escape(_remark(run_status, progress)),
    ]


def _weights(run: Run) -> Path | None:
    """The checkpoint of the last epoch, if it was kept."""
    checkpoints = run.folder / "checkpoints"
    epochs = run.scale.schedules[run.setting.schedule].epochs
    if epochs is not None:
        last = checkpoints / f"epoch_{epochs}.pth"
        return last if last.exists() else None
    return max(checkpoints.glob("epoch_*.pth"), key=lambda path: int(path.stem.partition("_")[2]), default=None)


def _printed(value: float | None, metric: Metric) -> str:
    finite, decimals = number(value), 1 if metric.decimals is None else metric.decimals
    return "" if finite is None else f"{finite / metric.unit:.{decimals}f}"


def _remark(run_status: RunStatus, progress: Progress) -> str:
    """Why it failed, where it runs or ran last, or where its weights are."""
    state, run = run_status.state, run_status.run
    if state == "done":
        return str(_weights(run) or "")
    if state == "failed":
        return ((progress.reason or "").splitlines() or ["no reason was left; look into logs/train"])[0]
    if state not in ("running", "interrupted") or not progress.host:
        return ""
    job = f", Slurm job {progress.slurm_job}" if progress.slurm_job else ""
    last = "" if state == "running" else f", last seen {progress.updated}"
    return f"on {progress.host}{job}{last}"
