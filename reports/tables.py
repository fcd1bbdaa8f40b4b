"""Tidy results -> one table of the paper, as Markdown, LaTeX, HTML and CSV."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import report_user_errors
from experiments.files import write_text_atomically
from experiments.records.cost_files import Speeds, read_costs
from experiments.spec.metrics import METRICS
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import Study, Table, load_study
from reports.kept import keep_copies
from reports.render import FORMATS, render
from reports.tidy_files import read_tidy

STALE = "†"


@dataclass(frozen=True)
class Cell:
    """One metric of one row.

    Attributes
    ----------
    measured, deviation : str or None
        Mean over the seeds, and their standard deviation where several ran.
    published : str or None
        Published number as printed.
    difference : str or None
        Measured minus published, where both come from the paper's setting.
    missing : str
        Text in place of a value that was not measured.
    best, published_best : bool
        Whether the value leads its column.
    """

    measured: str | None
    deviation: str | None
    published: str | None
    difference: str | None
    missing: str
    best: bool
    published_best: bool


def make_table(
    study: Study,
    key: str,
    scale: Scale,
    results: pd.DataFrame,
    provenance: pd.DataFrame,
    machine: Speeds | None = None,
    all_rows: int | None = None,
) -> dict[str, Any]:
    """The context of the templates.

    Parameters
    ----------
    study : Study
        The study of the table.
    key : str
        Key of the table in the study.
    scale : Scale
        The scale of the runs.
    results, provenance : DataFrame
        Results and runs from `reports.collect`.
    machine : Speeds, optional
        The speeds with the machine that they were measured on.
    all_rows : int, optional
        Number of rows that the study's table has, where `study` holds some of them.
    """
    table = study.tables[key]
    columns = _columns(table)
    values = _values(results, columns)
    cells = {metric: _cells(values, metric, table, scale) for metric in columns}
    trained = results.dropna(subset=["seed"])
    missing = trained[trained.measured.isna() & trained.date.isna()]
    stale = provenance[provenance.stale.astype(bool)]
    stale_rows = set(stale.row)
    return {
        "study": study,
        "heading": table.heading,
        "table": table,
        "scale": scale,
        "machine": machine,
        "headings": [*table.row_header, *columns.values()],
        "columns": columns,
        "rows": [
            (_marked(row.name, index in stale_rows), [cells[metric][index] for metric in columns])
            for index, row in enumerate(table.rows)
        ],
        "published": any(number is not None for row in table.rows for number in row.published.values()),
        "unavailable": _reasons(table),
        "all_rows": all_rows or len(table.rows),
        "seeds": sorted({int(seed) for seed in trained.seed}),
        "schedules": sorted({setting.schedule for setting in table.settings}),
        "runs": _runs(trained),
        "stale": sorted(set(zip(stale.name, stale.seed.astype(int), strict=True))),
        "provenance": _provenance(provenance),
        "missing": sorted(set(zip(missing.name, missing.seed.astype(int), strict=True))),
        "dates": _span(trained.date.dropna()),
        "versions": sorted(trained.versions.dropna().unique()),
        "today": date.today().isoformat(),
        "values": values,
    }


def _marked(names: list[str], stale: bool) -> list[str]:
    return [*names[:-1], f"{names[-1]} {STALE}"] if stale else names


def _provenance(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Printed columns of the runs; a run that several rows share is listed once."""
    once = runs.drop_duplicates("run")

    def column(name: str, show: Callable[[Any], str]) -> list[str]:
        return ["–" if pd.isna(value) else show(value) for value in once[name]]

    commits = column("commit", lambda value: value[:10])
    changed = column("clean", lambda value: "" if value in (True, "True") else " + changes")
    return {
        "Run": list(once.run),
        "Row": list(once.name),
        "Seed": column("seed", "{:.0f}".format),
        "Trained": column("date", lambda value: value[:16].replace("T", " ")),
        "Commit": [commit if commit == "–" else commit + change for commit, change in zip(commits, changed, strict=True)],
        "Machine": column("machine", str),
        "Minutes": column("seconds", lambda value: f"{value / 60:.1f}"),
        "s/iteration": column("seconds_per_iteration", "{:.3g}".format),
        "Memory (GiB)": column("peak_memory_gib", "{:.2f}".format),
        "Images per step": column("effective_batch", "{:.0f}".format),
        "Learning rate": column("learning_rate", "{:g}".format),
        "Images measured": column("images", "{:.0f}".format),
        "Annotations": column("annotations", lambda value: value[:10]),
        "Checkpoint": column("checkpoint", lambda value: value[:10]),
    }


def _reasons(table: Table) -> dict[str, list[str]]:
    """Why rows cannot be run, and which."""
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        if row.unavailable:
            reasons.setdefault(row.unavailable, []).append(row.label)
    return reasons


def _columns(table: Table) -> dict[str, str]:
    columns: dict[str, str] = {}
    for metric, heading in table.columns.items():
        columns[metric] = heading
        added = METRICS[metric].adds
        columns |= {added[0]: added[1]} if added else {}
    return columns


def _values(results: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Mean, deviation, count and published number of each (metric, row), in the unit of the heading."""
    frame = results[results.metric.isin([*columns, "fps"])].copy()
    unit = frame.metric.map({name: metric.unit for name, metric in METRICS.items()})
    frame["measured"] = frame.measured.astype(float) / unit
    grouped = frame.groupby(["metric", "row"], sort=False)
    values = grouped.agg(
        mean=("measured", "mean"),
        std=("measured", "std"),
        count=("measured", "count"),
        published=("published", "first"),
        finished=("date", "count"),
    )
    if "fps_ratio" in columns and "fps" in values.index:
        fps = values.loc["fps"]
        rates = fps[["mean", "published"]].astype(float)
        ratio = rates / rates.bfill().iloc[0]
        ratio = ratio.assign(std=math.nan, count=fps["count"], finished=0)
        values = pd.concat([values, pd.concat({"fps_ratio": ratio}, names=["metric"])])
    return values


def _cells(values: pd.DataFrame, metric: str, table: Table, scale: Scale) -> list[Cell]:
    rows = range(len(table.rows))
    numbers = (
        values.loc[metric].reindex(rows)
        if metric in values.index
        else pd.DataFrame(index=rows, columns=["mean", "std", "count", "published", "finished"], dtype=float)
    )
    known, decimals = METRICS[metric], _decimals(table, metric)
    is_accuracy = known.origin == "run"
    compared = scale.paper_setting and known.origin in ("run", "server")
    measured_format = f".{known.significant}g" if known.significant else f".{decimals}f"
    means = numbers["mean"].astype(float)
    means = means if known.significant else means.round(decimals)
    published = numbers["published"].astype(float)
    lead = "min" if known.lower_is_better else "max"
    runnable = bool(table.settings)
    leader, published_leader = getattr(means, lead)(), getattr(published, lead)()

    def text(value: float, style: str) -> str | None:
        return None if pd.isna(value) else f"{value:{style}}"

    def missing(row: int) -> str:
        if table.rows[row].unavailable:
            return "not available"
        return "not measured" if not is_accuracy else "–" if numbers["finished"][row] else "not run"

    return [
        Cell(
            measured=text(means[row], measured_format),
            deviation=text(numbers["std"][row], measured_format),
            published=_printed(table.rows[row].published.get(metric), published[row], decimals),
            difference=text(means[row] - published[row], f"+.{decimals}f") if compared else None,
            missing=missing(row),
            best=means[row] == leader,
            # If no row can run, published numbers may come from different datasets: mark no best.
            published_best=runnable and published[row] == published_leader,
        )
        for row in rows
    ]


def _printed(number: float | None, value: float, decimals: int) -> str | None:
    """A published number as it stands in the study; a derived one is rounded."""
    if number is not None:
        return getattr(number, "text", str(number))
    return None if pd.isna(value) else f"{value:.{decimals}f}"


def _decimals(table: Table, metric: str) -> int:
    """Decimals of the metric, or else those of the published column, at least one."""
    decimals = METRICS[metric].decimals
    if decimals is not None:
        return decimals
    printed = [_printed(row.published.get(metric), float("nan"), 1) for row in table.rows]
    return max([1, *(len(text.partition(".")[2]) for text in printed if text)])


def _runs(trained: pd.DataFrame) -> list[tuple[str, str]]:
    """Row name and its run ids, in the order of the seeds."""
    pairs = trained[["row", "name", "run", "seed"]].drop_duplicates()
    return [(str(group.name.iloc[0]), ", ".join(group.run)) for _, group in pairs.groupby("row")]


def _span(dates: pd.Series) -> str:
    days = sorted({day[:10] for day in dates})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def main() -> None:
    """Write one table in all formats."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--rows", nargs="*", help="names of the rows that the report is restricted to; all by default")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--speeds", type=Path, nargs="*", default=[], help="output of experiments.cost.speed")
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("output", type=Path, help="without extension")
    arguments = parser.parse_args()
    speed = read_costs(arguments.speeds[0], Speeds) if arguments.speeds else None
    whole, scale = load_study(arguments.study), load_scale(arguments.scale)
    study = whole.only_rows(arguments.rows)
    all_rows = len(whole.tables[arguments.table].rows)
    results, provenance = read_tidy(arguments.results), read_tidy(arguments.runs)
    context = make_table(study, arguments.table, scale, results, provenance, speed, all_rows)
    files = [arguments.output.with_name(f"{arguments.output.name}.{extension}") for extension in FORMATS]
    for file in files:
        write_text_atomically(file, render(context, file.suffix[1:]))
    keep_copies(files, scale.name, results, arguments.rows is None)


if __name__ == "__main__":
    report_user_errors(main)
