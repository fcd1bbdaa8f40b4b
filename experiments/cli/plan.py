"""What a configuration will cost: rows, runs, hours of GPUs or cores and wall time, of each table and of all."""

import argparse
import dataclasses
import heapq
import json
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO

from rich import box
from rich.markup import escape
from rich.table import Table

from experiments.cli.assumptions import assumptions
from experiments.cli.console import make_console
from experiments.cli.power import PowerPlanner, SeedList, about_power, claims_table
from experiments.cost.gpu_types import DEFAULT_GPU, GPU_TYPES
from experiments.cost.power import MOST_SEEDS
from experiments.cost.training_time import SOURCES, Estimate, TrainingTimeEstimator
from experiments.errors import UserError
from experiments.records.checked_necks import passed_file
from experiments.records.progress_file import Progress
from experiments.records.recorded_times import duration
from experiments.records.run_status import RunReader, RunStatus
from experiments.spec.run import Run
from experiments.workflow.grid import Grid

HOUR = 3600
TOTAL = "all together"
# Columns of text below which optional columns are hidden.
WIDE = 104
LISTED_SEEDS = 10
# Unfinished necks of which each is built, to try its options; more would take longer than a plan should.
MOST_NECKS = 100
DISPENSABLE = ("rows", "can run", "s per iteration")


@dataclass(frozen=True)
class Line:
    """The cost of one table, or of all together.

    Attributes
    ----------
    rows, runnable, runs, done : int
        Rows, those that can be run, their runs and those that have metrics.
    hours, hours_left : float
        GPU hours, or core hours if the scale trains on the CPU: of all runs, and of what is not done yet.
    wall_seconds : float
        Until what is left is done, on the given GPUs or cores.
    seconds_per_iteration : (float, float) or None
        Least and most.
    sources : dict
        Number of runs by the source of their estimate.
    """

    name: str
    rows: int
    runnable: int
    runs: int
    done: int
    hours: float
    hours_left: float
    wall_seconds: float
    seconds_per_iteration: tuple[float, float] | None
    sources: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``plan``."""
    parser.add_argument("--gpus", type=int, help="GPUs to share among the runs; as many as one run asks for by default")
    parser.add_argument("--cores", type=int, help="the same for a scale that trains on the CPU")
    parser.add_argument(
        "--gpu-type",
        help=f"{', '.join(GPU_TYPES)}: take the times of such GPUs alone, or what they sustain; {DEFAULT_GPU} by default",
    )
    parser.add_argument("--teraflops", type=float, help="sustained by one GPU, or by one core, where nothing was measured")
    parser.add_argument("--probe", action="store_true", help="measure steps of each model here that nothing is known of yet")
    parser.add_argument("--power", action="store_true", help="seeds that each published gain takes, and their hours")
    parser.add_argument("--seeds-for", type=float, metavar="GAIN", help="seeds with which each table shows a gain")
    parser.add_argument("--json", action="store_true", help="print the plan for programs")


def main(grid: Grid, arguments: argparse.Namespace) -> None:
    """What the configuration will cost: runs, hours of GPUs or cores, wall time.

    Parameters
    ----------
    grid : Grid
        The configuration's grid.
    arguments : Namespace
        Parsed options, from `add_arguments`.

    Raises
    ------
    UserError
        If the GPUs or cores do not suffice for one run, or the rate is not positive.
    """
    concurrent_runs = _concurrent_runs(grid, arguments)
    if arguments.teraflops is not None and not arguments.teraflops > 0:
        raise UserError(f"--teraflops {arguments.teraflops:g}: expected a number above 0")
    gpu_type = _gpu_type(grid, arguments.gpu_type)
    if gpu_type and arguments.probe:
        raise UserError("--gpu-type: --probe measures the GPU of this machine; leave one of them out")
    records = RunReader()
    rate = None
    if arguments.teraflops:
        rate = arguments.teraflops * 1e12 * (1 if grid.scale.resources.gpus else grid.scale.resources.threads)
    statuses = records.statuses(grid.runs.values())
    unchecked = _options_unchecked(run_status.run for run_status in statuses if run_status.state != "done")
    times = TrainingTimeEstimator(grid, records, rate, gpu_type)
    if arguments.probe:
        from experiments.cost.probe import probe

        probe(times, statuses)
    estimates = {run_status.run.id: times.estimate(run_status) for run_status in statuses}
    by_id = {run_status.run.id: run_status for run_status in statuses}
    if arguments.power or arguments.seeds_for is not None:
        _print_power(grid, by_id, estimates, arguments)
        return
    lines = _lines(grid, by_id, estimates, concurrent_runs)
    notes = [
        *assumptions(times, ((run_status.run, estimates[run_status.run.id]) for run_status in statuses)),
        *_notes(grid, concurrent_runs, estimates),
        *unchecked,
    ]
    if arguments.json:
        print(json.dumps({"lines": [dataclasses.asdict(line) for line in lines], "notes": notes, "damaged": records.problems}))
        return
    console = make_console()
    console.print(_table(grid, lines, concurrent_runs, is_narrow=console.width < WIDE))
    for sentence in (*notes, *records.problems):
        console.print(escape(sentence), highlight=False)


def _gpu_type(grid: Grid, name: str | None) -> str | None:
    """The key of `GPU_TYPES` that the user named."""
    if name is None:
        return None
    if not grid.scale.resources.gpus:
        raise UserError(f"--gpu-type: scale {grid.scale.name} trains on the CPU")
    if name.upper() not in GPU_TYPES:
        raise UserError(f"--gpu-type {name}: allowed: {', '.join(GPU_TYPES)}, or --teraflops for another")
    return name.upper()


def _print_power(
    grid: Grid, statuses: dict[str, RunStatus], estimates: dict[str, Estimate], arguments: argparse.Namespace
) -> None:
    if arguments.seeds_for is not None and not arguments.seeds_for > 0:
        raise UserError(f"--seeds-for {arguments.seeds_for:g}: expected a gain above 0, in the unit of the metrics")
    planner, first = PowerPlanner(grid, statuses), grid.configuration.seeds[0]

    def hours_of(run: Run) -> float:
        estimate = estimates[Run(run.setting, grid.scale, first).id]
        return estimate.seconds * devices_per_run(grid) / HOUR

    claims = list(planner.claims(hours_of)) if arguments.power else []
    lists = list(planner.seeds_for(arguments.seeds_for)) if arguments.seeds_for is not None else []
    if arguments.json:
        print(json.dumps({"claims": list(map(dataclasses.asdict, claims)), "seeds_for": list(map(dataclasses.asdict, lists))}))
        return
    console = make_console()
    if claims:
        console.print(claims_table(claims, grid.scale))
        console.print(escape(about_power()), highlight=False)
    for found in lists:
        console.print(escape(_seeds_sentence(found, arguments.seeds_for)), highlight=False)


def _seeds_sentence(found: SeedList, gain: float) -> str:
    if found.seeds is None:
        needed = f"more than {MOST_SEEDS} seeds a row"
    else:
        needed = f"seeds: {list(range(found.seeds))}" if found.seeds <= LISTED_SEEDS else f"{found.seeds} seeds a row"
    return f"{found.report}: a gain of {gain:g} takes {needed} (σ {found.deviation:.2g} in {found.metric})"


def _options_unchecked(runs: Iterable[Run]) -> list[str]:
    """Refuse options that only a neck's constructor refuses; without torch a note, for then none can be built."""
    distinct = {json.dumps(run.spec["neck"], sort_keys=True): run for run in runs}
    new = [run for run in distinct.values() if not passed_file(run).exists()] if len(distinct) <= MOST_NECKS else []
    if len(distinct) > MOST_NECKS or (new and not find_spec("torch")):
        reason = "torch is not installed here" if new else f"there are {len(distinct):,} necks"
        return [f"No neck was built to try its options, for {reason}; the check before trainings builds them."]
    if not new:
        return []
    # torch takes seconds, which plans of necks that have passed need not wait; the libraries print what they leave out.
    with redirect_stdout(StringIO()), warnings.catch_warnings(action="ignore"):
        from mmdet.utils import register_all_modules

        from experiments.preflight.necks import check_options

        register_all_modules()
        check_options(new)
    return []


def devices_per_run(grid: Grid) -> int:
    """GPUs per run, or cores if the scale trains on the CPU.

    Parameters
    ----------
    grid : Grid
        The configuration's grid.
    """
    return grid.scale.resources.gpus or grid.scale.resources.threads


def _concurrent_runs(grid: Grid, arguments: argparse.Namespace) -> int:
    """How many runs go on at the same time."""
    wanted, other = ("gpus", "cores") if grid.scale.resources.gpus else ("cores", "gpus")
    if getattr(arguments, other) is not None:
        raise UserError(f"--{other}: scale {grid.scale.name} trains on {_plural(wanted)}; say --{wanted}")
    given = getattr(arguments, wanted)
    if given is not None and given < devices_per_run(grid):
        raise UserError(
            f"--{wanted} {given}: one run at scale {grid.scale.name} asks for {devices_per_run(grid)}; give a multiple of it"
        )
    return 1 if given is None else given // devices_per_run(grid)


def _plural(unit: str) -> str:
    return "GPUs" if unit == "gpus" else "the CPU"


def _lines(grid: Grid, statuses: dict[str, RunStatus], estimates: dict[str, Estimate], concurrent_runs: int) -> list[Line]:
    lines = []
    for report in grid.tables:
        table = grid.table(report)
        ids = list(dict.fromkeys(run.id for run in grid.runs_of(report)))
        lines.append(_line(report, len(table.rows), len(table.settings), ids, statuses, estimates, concurrent_runs))
    rows, runnable = (sum(getattr(line, name) for line in lines) for name in ("rows", "runnable"))
    return [*lines, _line(TOTAL, rows, runnable, list(statuses), statuses, estimates, concurrent_runs)]


def _line(
    name: str,
    rows: int,
    runnable: int,
    ids: list[str],
    statuses: dict[str, RunStatus],
    estimates: dict[str, Estimate],
    concurrent_runs: int,
) -> Line:
    left = [seconds_left(statuses[run], estimates[run]) for run in ids]
    per_iteration = [estimates[run].seconds_per_iteration for run in ids]
    counts = Counter(estimates[run].source for run in ids)
    units = {run: statuses[run].run.scale.resources.gpus or statuses[run].run.scale.resources.threads for run in ids}
    return Line(
        name=name,
        rows=rows,
        runnable=runnable,
        runs=len(ids),
        done=sum(statuses[run].state == "done" for run in ids),
        hours=sum(estimates[run].seconds * units[run] for run in ids) / HOUR,
        hours_left=sum(seconds * units[run] for run, seconds in zip(ids, left, strict=True)) / HOUR,
        wall_seconds=makespan(left, concurrent_runs),
        seconds_per_iteration=(min(per_iteration), max(per_iteration)) if ids else None,
        sources={source: counts[source] for source in SOURCES if counts[source]},
    )


def seconds_left(run_status: RunStatus, estimate: Estimate) -> float:
    """Seconds that a run still needs; an interrupted run resumes after its last whole epoch.

    Parameters
    ----------
    run_status : RunStatus
        The run's status.
    estimate : Estimate
        The estimate for the whole run.
    """
    if run_status.state == "done":
        return 0.0
    progress = run_status.progress or Progress()
    # An interrupted run restarts from its last whole epoch.
    is_running = run_status.state == "running"
    done, whole = (progress.iteration, progress.max_iterations) if is_running else (progress.epoch, progress.max_epochs)
    share = min(1.0, max(0.0, done / whole)) if done is not None and whole else 0.0
    return estimate.seconds * (1 - share)


def makespan(durations: Iterable[float], concurrent_runs: int) -> float:
    """Wall time in seconds when each free slot takes the longest remaining run.

    Parameters
    ----------
    durations : iterable of float
        Seconds of each.
    concurrent_runs : int
        Number of runs at the same time.
    """
    ends = [0.0] * concurrent_runs
    for seconds in sorted(durations, reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _notes(grid: Grid, concurrent_runs: int, estimates: dict[str, Estimate]) -> list[str]:
    runs = "runs" if concurrent_runs > 1 else "run"
    notes = [
        f"{_device_name(grid)}-hours: {_device_count(grid, 1)} × the time of a run. Wall time: {concurrent_runs} {runs}"
        f" at a time on {_device_count(grid, concurrent_runs)}, the longest first, without waiting in queues.",
        "Runs that tables share are counted once in the last line.",
    ]
    if estimates:
        longest = max(estimate.seconds for estimate in estimates.values())
        asked = grid.scale.resources.runtime_minutes * 60
        verdict = (
            ""
            if longest <= asked
            else ": too short for one attempt. A retry goes on from the checkpoint; with a longer"
            " resources.runtime_minutes none is needed"
        )
        notes.append(f"The longest run takes {duration(longest)}; the scale asks the cluster for {duration(asked)}{verdict}.")
    return notes


def _device_name(grid: Grid) -> str:
    return "GPU" if grid.scale.resources.gpus else "core"


def _device_count(grid: Grid, concurrent_runs: int) -> str:
    number = concurrent_runs * devices_per_run(grid)
    return f"{number} {_device_name(grid)}{'s' if number > 1 else ''}"


def _table(grid: Grid, lines: list[Line], concurrent_runs: int, is_narrow: bool) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    hours, wall = f"{_device_name(grid)}-hours", f"wall time left, {_device_count(grid, concurrent_runs)}"
    headings = ("table", "rows", "can run", "runs", "done", hours, "left", wall, "s per iteration", "time is")
    shown = [index for index, heading in enumerate(headings) if not (is_narrow and heading in DISPENSABLE)]
    rows = [_cells(line) for line in lines]
    for index in shown:
        # On a narrow screen break headings, never numbers.
        widest = max(len(cells[index]) for cells in rows)
        is_text = headings[index] in ("table", "time is")
        table.add_column(headings[index], justify="left" if is_text else "right", min_width=widest)
    for cells in rows:
        table.add_row(*(escape(cells[index]) for index in shown), end_section=len(rows) > 1 and cells is rows[-2])
    return table


def _cells(line: Line) -> list[str]:
    if line.seconds_per_iteration is None:
        return [line.name, str(line.rows), "0", "0", "0", "–", "–", "–", "–", "nothing can run"]
    return [
        line.name,
        *(str(count) for count in (line.rows, line.runnable, line.runs, line.done)),
        *(_hours(hours) for hours in (line.hours, line.hours_left)),
        duration(line.wall_seconds),
        _range(*line.seconds_per_iteration),
        ", ".join(f"{count} {source}" for source, count in line.sources.items()),
    ]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _range(least: float, most: float) -> str:
    first, last = f"{least:.3g}", f"{most:.3g}"
    return first if first == last else f"{first}–{last}"
