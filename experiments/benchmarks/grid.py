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
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import yaml
from tqdm import tqdm

from experiments.benchmarks.project_copy import copy_project
from experiments.errors import UserError, report_user_errors
from experiments.records.metrics_file import Provenance, RunMetrics, write_metrics
from experiments.spec.fingerprint import fingerprints
from experiments.spec.metrics import ACCURACY
from experiments.spec.run import Run
from experiments.workflow.grid import Grid

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

SIZES = (100, 300, 1000, 3000, 10_000)
ROWS_PER_TABLE = 100
TABLES_PER_STUDY = 10
SHAPES = ("tables of 100 rows", "one table")
HISTORY_POINTS = 48
LOSSES = ("loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "acc", "loss_bbox", "loss_mask")
# What a user may expect at 10,000 runs: seconds, and GiB of memory.
# The limits are for a machine that does nothing else.
LIMITS = {"dry run": (30, 2), "dry run, all trained": (30, 2), "collect": (60, 2), "plan": (10, 2), "status": (10, 2)}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
# A program of its own, because a new process begins with the peak memory of the one that starts it.
METER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:])
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print()
print(json.dumps([code, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20]))
"""
DATASET = {"val": {"images": 200, "annotations_sha256": "0" * 64}}


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


def write_studies(folder: Path, rows: int, rows_per_table: int) -> None:
    """Write studies whose rows all differ in the options of A²-FPN, and a configuration that asks for all of them.

    Parameters
    ----------
    folder : Path
        Copy of the project.
    rows : int
        Number of rows of all tables together.
    rows_per_table : int
        At most.
    """
    necks = _necks(rows)
    tables = [list(islice(necks, rows_per_table)) for _ in range(-(-rows // rows_per_table))]
    names = []
    for start in range(0, len(tables), TABLES_PER_STUDY):
        name = f"synthetic{start // TABLES_PER_STUDY}"
        contents = {f"table{number}": _table(necks) for number, necks in enumerate(tables[start : start + TABLES_PER_STUDY])}
        study = {
            "title": "Synthetic",
            "reference": "nowhere",
            "defaults": {"detector": "mask_rcnn", "backbone": "resnet50", "schedule": "1x"},
            "tables": contents,
        }
        path = folder / f"experiments/studies/{name}.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=200))
        names.append(name)
    configuration = {"studies": names, "scale": "demo", "seeds": [0], "data_root": None, "train": "missing"}
    (folder / "experiments/config.yaml").write_text(yaml.safe_dump(configuration))


def _necks(number: int) -> Iterator[dict[str, Any]]:
    variants = cycle(product(("conv", "mgc"), ("nearest", "carafe", "gacarafe"), ("conv", "cap", "gacap"), ("conv", "pool")))
    for index, (lateral, top_down, bottom_up, extra_level) in zip(range(number), variants, strict=False):
        operations = {"lateral": lateral, "top_down": top_down, "bottom_up": bottom_up, "extra_level": extra_level}
        yield {"type": "A2FPN", **operations, "context_ratio": round(0.5 + index / 20_000, 6)}


def _table(necks: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {metric: metric for metric in ("box_AP", "mask_AP", "mask_AP50", "mask_AP75", "mask_APS", "mask_APM", "mask_APL")}
    rows = [
        {"name": f"row {number}", "setting": {"neck": neck}, "published": [30 + number % 100 / 10] * len(columns)}
        for number, neck in enumerate(necks)
    ]
    return {"title": "Synthetic", "columns": columns, "rows": rows}


def leave_runs(runs: list[Run], finished: int) -> None:
    """Leave what trainings leave: the config of every run, metrics of the first ones, progress of the others.

    Parameters
    ----------
    runs : list of Run
        All of them.
    finished : int
        Number of finished runs.
    """
    history = [
        {"iteration": 8 * point, **{name: 3.0 / point + len(name) / 1e5 for name in LOSSES}}
        for point in range(1, HISTORY_POINTS + 1)
    ]
    versions = {"torch": "2.13.0", "onedl-mmcv": "2.3.6", "onedl-mmengine": "0.10.12", "onedl-mmdetection": "3.5.1"}
    made: dict[str, Any] = {
        "date": "2026-01-02T03:04:05+00:00",
        "seconds": 150.0,
        "seconds_per_iteration": 0.35,
        "processes": 1,
        "effective_batch": 8,
        "learning_rate": 0.002,
        "hardware": {"processor": "made up", "gpus": []},
        "threads": 1,
        "versions": versions,
    }
    for number, run in enumerate(runs):
        run.folder.mkdir(parents=True, exist_ok=True)
        if not (run.folder / "config.py").exists():
            (run.folder / "config.py").write_text("# written by a benchmark\n")
        metrics = {metric: round(20 + number % 997 / 100, 4) for metric in ACCURACY}
        if number < finished:
            content = {"run": run.id, "spec": run.spec, "metrics": metrics, "history": history, "parameters": 44_000_000}
            provenance = Provenance(**made, sources=fingerprints(run.models))
            write_metrics(run.metrics_file, RunMetrics(**content, dataset=DATASET, provenance=provenance))
        else:
            (run.folder / "progress.json").write_text(json.dumps(_progress(number, metrics)))


def _progress(number: int, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "state": ("running", "failed", "preempted")[number % 3],
        "epoch": 1,
        "max_epochs": 3,
        "iteration": 150,
        "max_iterations": 375,
        "seconds_per_iteration": 0.35,
        "seconds_left": 79.0,
        "loss": 1.5,
        "metrics": metrics,
        "reason": "loss_bbox is not finite in epoch 2, iteration 3" if number % 3 == 1 else None,
        "host": "node1",
        "process": 4_000_000,
        "slurm_job": None,
        "updated": "2026-01-02T03:04:05+00:00",
    }


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
    path.write_text(json.dumps(DATASET))


def _report_commands(grid: Grid, module: str) -> Iterator[list[str]]:
    """The commands of the Snakefile for each table, one after another."""
    Path("reports/data").mkdir(exist_ok=True)
    for report, (study, key) in grid.tables.items():
        command = [sys.executable, "-m", f"reports.{module}", "--study", study.name, "--table", key, "--scale", "demo"]
        results = ["--results", f"reports/data/{report}.csv", "--runs", f"reports/data/{report}_runs.csv"]
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
    """With which power of the number of runs each command's processor time grows.

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


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw processor time and memory against the number of runs, both axes logarithmic, with a line of slope 1.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.
    path : Path
        Image file to write.
    """
    quantities = {"processor_seconds": "processor time (s)", "gibibytes": "peak memory of a process (GiB)"}
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    styles = dict(zip(table.command.unique(), zip(COLOURS, MARKERS, strict=True), strict=False))
    for panel, (quantity, label) in zip(panels, quantities.items(), strict=True):
        for (shape, command), costs in table.groupby(["shape", "command"], sort=False):
            colour, marker = styles[command]
            line = "-" if shape == SHAPES[0] else ":"
            name = f"{command}, {shape}" if table["shape"].nunique() > 1 else command
            panel.plot(costs.runs, costs[quantity], line, color=colour, marker=marker, markersize=5, label=name)
        sizes = [table.runs.min(), table.runs.max()]
        top = table[quantity][table.runs == sizes[1]].max()
        panel.plot(sizes, [top * sizes[0] / sizes[1], top], "--", color="0.5", linewidth=1, label="slope 1: linear")
        panel.set(xscale="log", yscale="log", xlabel="runs", ylabel=label)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_formatter("")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter("{x:,g}")
        # The line goes on below what was measured.
        panel.set_ylim(bottom=0.7 * table[quantity].min())
        panel.grid(which="major", color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def over_limits(table: pd.DataFrame) -> list[str]:
    """A sentence for each command that took more than `LIMITS` at 10,000 runs.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.
    """
    return [
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
