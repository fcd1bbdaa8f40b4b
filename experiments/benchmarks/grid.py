"""How planning and collecting grow with the number of runs, measured on synthetic studies in a copy of the project."""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

from experiments.benchmarks.growth_figure import plot
from experiments.benchmarks.project_copy import copy_project
from experiments.benchmarks.synthetic_grid import DATASET, ROWS_PER_TABLE, SHAPES, leave_runs, write_studies
from experiments.errors import UserError, report_user_errors
from experiments.spec.dataset_identity import CheckedDataset, write_checked_dataset
from experiments.workflow.grid import Grid

SIZES = (100, 300, 1000, 3000, 10_000)
# Limits at 10,000 runs on an idle machine: seconds, and GiB of memory.
LIMITS = {"dry run": (30, 2), "dry run, all trained": (30, 2), "collect": (60, 2), "plan": (10, 2), "status": (10, 2)}
# Exponent of growth above which a command is said to grow faster than the grid.
LINEAR = 1.3
# A separate program, because a forked process inherits the peak memory of its parent.
METER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:])
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print()
print(json.dumps([code, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20]))
"""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes
    ----------
    seconds : float
        By the clock.
    processor_seconds : float
        Processor time, system time included; other programs on the machine hardly change it.
    gibibytes : float
        Most memory that one process had at one time.
    """

    seconds: float
    processor_seconds: float
    gibibytes: float


def run_command(arguments: list[str], folder: Path) -> Cost:
    """Run a program and measure it.

    Parameters
    ----------
    arguments : list of str
        The command line.
    folder : Path
        Copy of the project to run it in.

    Raises
    ------
    UserError
        If the program fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-I", "-S", "-c", METER, *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    *output, measured = result.stdout.splitlines()
    code, *numbers = json.loads(measured)
    if code:
        raise UserError(f"{' '.join(arguments[:6])} ended with {code}: {(result.stderr or chr(10).join(output))[-500:]}")
    return Cost(*numbers)


def measure(runs: int, shape: str) -> Iterator[tuple[str, Cost]]:
    """Measure all commands on a synthetic grid.

    Parameters
    ----------
    runs : int
        Number of rows, each with a run of its own.
    shape : str
        One of `SHAPES`.

    Yields
    ------
    (str, Cost)
        Name of what was measured, and what it took.
    """
    with tempfile.TemporaryDirectory(prefix="grid_of_runs_") as name, chdir(name):
        folder = Path(name)
        copy_project(folder)
        write_studies(folder, runs, runs if shape == "one table" else ROWS_PER_TABLE)
        dry_run = [str(Path(sys.executable).parent / "snakemake"), "-n", "--quiet", "rules", "host", "reason"]
        yield "dry run", run_command(dry_run, folder)

        grid = Grid(yaml.safe_load(Path("experiments/config.yaml").read_text()))
        _leave_dataset(grid)
        leave_runs(list(grid.runs.values()), finished=runs // 2)
        for verb in ("plan", "status"):
            yield verb, run_command([sys.executable, "-m", "experiments", verb], folder)
        leave_runs(list(grid.runs.values()), finished=runs)
        yield "dry run, all trained", run_command(dry_run, folder)
        yield "collect", _sum(run_command(command, folder) for command in _report_commands(grid, "collect"))
        yield "tables", _sum(run_command(command, folder) for command in _report_commands(grid, "tables"))


def _leave_dataset(grid: Grid) -> None:
    path = Path("datasets") / f"{grid.scale.name}.json"
    path.parent.mkdir()
    write_checked_dataset(path, CheckedDataset(identity=DATASET))


def _report_commands(grid: Grid, module: str) -> Iterator[list[str]]:
    """The commands of the Snakefile for each table, one after another."""
    Path("reports/data").mkdir(exist_ok=True)
    for report, (study, key) in grid.tables.items():
        command = [sys.executable, "-m", f"reports.{module}", "--study", study.name, "--table", key, "--scale", "demo"]
        files = {"--results": "", "--runs": "_runs", "--gains": "_gains", "--classes": "_classes"}
        results = [part for option, end in files.items() for part in (option, f"reports/data/{report}{end}.csv")]
        if module == "collect":
            others = ["--seeds", "0", "--dataset", "datasets/demo.json", "--history", f"reports/data/{report}_history.csv"]
        else:
            others = [f"reports/{report}"]
        yield [*command, *results, *others]


def _sum(costs: Iterator[Cost]) -> Cost:
    listed = list(costs)
    return Cost(
        sum(cost.seconds for cost in listed),
        sum(cost.processor_seconds for cost in listed),
        max(cost.gibibytes for cost in listed),
    )


def growth(table: pd.DataFrame) -> pd.Series:
    """Exponent with which each command's processor time grows with the number of runs.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.

    Returns
    -------
    Series
        By shape and command; 1 is linear. From the two largest grids, less the time of the smallest, which is that of starting.
    """
    exponents = {}
    for key, costs in table.groupby(["shape", "command"], sort=False):
        seconds = costs.set_index("runs").processor_seconds.sort_index()
        if len(seconds) < 3:
            continue
        begun, (fewer, more) = seconds.iloc[0], seconds.index[-2:]
        added = [max(1e-3, seconds[runs] - begun) for runs in (fewer, more)]
        exponents[key] = math.log(added[1] / added[0]) / math.log((more - seconds.index[0]) / (fewer - seconds.index[0]))
    return pd.Series(exponents, dtype=float)


def over_limits(table: pd.DataFrame) -> list[str]:
    """A sentence for each command that took more than `LIMITS` at 10,000 runs, or grows faster than the grid.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.
    """
    steep = [
        f"{command}, {shape}: its time grows with the runs to the power of {exponent:.2f}; allowed up to {LINEAR}"
        for (shape, command), exponent in growth(table).items()
        if exponent > LINEAR
    ]
    return steep + [
        f"{line.command}, {line.shape}: {value:.1f} {unit} are more than {limit}"
        for line in table[table.runs == SIZES[-1]].itertuples()
        for value, limit, unit in zip((line.seconds, line.gibibytes), LIMITS.get(line.command, ()), ("s", "GiB"), strict=False)
        if value > limit
    ]


def main() -> None:
    """Measure planning and collecting of studies of growing size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=SIZES, help="sizes of the grids")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES, help="how the rows are spread over tables")
    parser.add_argument("--plot", type=Path, help="image file for times and memory")
    parser.add_argument("--csv", type=Path, help="file for the table's data, also written while it goes on")
    arguments = parser.parse_args()
    lines = []
    for runs, shape in tqdm(list(product(arguments.runs, arguments.shapes)), unit="grid"):
        for command, cost in measure(runs, shape):
            lines.append({"shape": shape, "runs": runs, "command": command, **dataclasses.asdict(cost)})
            if arguments.csv:
                pd.DataFrame(lines).to_csv(arguments.csv, index=False)
    table = pd.DataFrame(lines)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; seconds by the clock / of the processor, GiB\n")
    text = table.seconds.map("{:.1f}".format) + " / " + table.processor_seconds.map("{:.1f}".format)
    table["cost"] = text + ", " + table.gibibytes.map("{:.2f}".format)
    wide = table.pivot(index=["shape", "command"], columns="runs", values="cost")
    wide = wide.reindex(list(dict.fromkeys(zip(table["shape"], table.command, strict=True))))
    wide["growth"] = growth(table).map("{:.2f}".format)
    print(wide.reset_index().to_markdown(index=False))
    print(*over_limits(table), sep="\n")
    if arguments.plot:
        plot(table, arguments.plot)


if __name__ == "__main__":
    report_user_errors(main)
