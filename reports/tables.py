"""Tidy results -> one table of the paper, as Markdown, LaTeX, HTML and CSV."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import report_user_errors
from experiments.files import write_text_atomically
from experiments.records.cost_files import Speeds, read_costs
from experiments.spec.metrics import METRICS
from experiments.spec.offered_rows import cost_scale, study_at
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import Study, Table, load_study
from reports.baselines import baselines_in_words
from reports.cells import Cell, GainCell, gain_cells, value_cells
from reports.gains import no_gains
from reports.kept import keep_copies
from reports.render import FORMATS, render
from reports.tidy_files import read_tidy

STALE = "†"


def make_table(
    study: Study,
    key: str,
    scale: Scale,
    results: pd.DataFrame,
    provenance: pd.DataFrame,
    machine: Speeds | None = None,
    all_rows: int | None = None,
    gains: pd.DataFrame | None = None,
    classes: pd.DataFrame | None = None,
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
    gains : DataFrame, optional
        From `reports.gains`.
    classes : DataFrame, optional
        What runs have left for each class, from `reports.collect`.
    """
    table = study.tables[key]
    gains = no_gains() if gains is None else gains
    measured = _measured(results, _metrics(table))
    values = _values(measured, _metrics(table))
    columns = _columns(table, measured, values, scale, gains, machine)
    trained = results.dropna(subset=["seed"])
    missing = trained[trained.measured.isna() & trained.date.isna()]
    stale = provenance[provenance.stale.astype(bool)]
    stale_rows = set(stale.row)
    return {
        "study": study,
        "report": study.report(key),
        "heading": table.heading,
        "table": table,
        "scale": scale,
        "machine": machine,
        "cost_scale": cost_scale(table) if machine else None,
        "headings": [*table.row_header, *table.marks, *(column.heading for column in columns)],
        "columns": columns,
        "groups": _groups(table, columns),
        "notes": [*table.notes, *study.notes],
        "metrics": list(_metrics(table)),
        "rows": [
            (_marked(row.name, index in stale_rows), table.marks_of(row), [column.cells[index] for column in columns])
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
        "repeats": _where_all_repeat(provenance),
        "missing": _seeds_by_name(missing),
        "gains": gains,
        "less_is_better": _of_which_less_is_better(table, gains),
        "over": baselines_in_words(table, gains),
        "has_one_baseline": gains.dropna(subset=["gain"]).against.nunique() == 1,
        "pinned": _shared_baseline(table),
        "claims": _claims(table, gains),
        "classes": {} if classes is None else _classes(table, classes),
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


def _where_all_repeat(runs: pd.DataFrame) -> str | None:
    """Where all runs of a table repeat bit for bit, see `reports.collect`; None where nothing is known of any."""
    known = set(runs.repeats.dropna())
    return next((place for place in ("nowhere", "processor", "x86") if place in known), None)


def _reasons(table: Table) -> dict[str, list[str]]:
    """Why rows cannot be run, and which."""
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        if row.unavailable:
            reasons.setdefault(row.unavailable, []).append(row.label)
    return reasons


@dataclass(frozen=True)
class Column:
    """A column of a printed table.

    Attributes
    ----------
    heading : str
        Its heading.
    group : str
        What it has in common with columns beside it, see `Metric.group`.
    cells : list of Cell or of GainCell
        A cell for each row.
    """

    heading: str
    group: str
    cells: list[Cell] | list[GainCell]


def _columns(
    table: Table, measured: pd.DataFrame, values: pd.DataFrame, scale: Scale, gains: pd.DataFrame, machine: Speeds | None
) -> list[Column]:
    """The columns of values, and after each tested metric that of its gains."""
    columns = []
    for metric, heading in _metrics(table).items():
        samples = _rounds(table, machine) if METRICS[metric].is_timed else _samples(measured, metric)
        columns.append(Column(heading, METRICS[metric].group, value_cells(values, samples, metric, table, scale, gains)))
        if gains.gain[gains.metric == metric].notna().any():
            columns.append(Column(f"Δ {heading}", METRICS[metric].group, gain_cells(metric, table, gains)))
    return columns


def _samples(measured: pd.DataFrame, metric: str) -> dict[int, Sequence[float]]:
    """Row to its measured values of a metric, one for each seed."""
    known = measured[measured.metric == metric].dropna(subset=["measured"])
    return {row: of_row.to_numpy(float) for row, of_row in known.groupby("row").measured}


def _rounds(table: Table, machine: Speeds | None) -> dict[int, Sequence[float]]:
    """Row to its speeds, one for each round in which all were measured."""
    rounds = machine.rounds if machine else {}
    return {index: rounds.get(row.setting.key, []) for index, row in enumerate(table.rows) if row.setting}


def _groups(table: Table, columns: list[Column]) -> list[tuple[str, int, int]]:
    """What columns side by side have in common, with the numbers of the first and the last, from 1; none if it is all alike."""
    kinds = ["modules"] * len(table.marks) + [column.group for column in columns]
    groups, first = [], len(table.row_header) + 1
    for kind, alike in groupby(kinds):
        last = first + len(list(alike)) - 1
        groups.append((kind, first, last))
        first = last + 1
    return groups if len(set(kinds)) > 1 and any(first < last for _, first, last in groups) else []


def _classes(table: Table, classes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Heading of each metric to the means over the seeds, a line for each class and a column for each row."""
    found = {}
    for metric, heading in table.columns.items():
        of_metric = classes[classes.metric == metric].assign(measured=lambda lines: lines.measured.astype(float))
        if len(of_metric):
            means = of_metric.pivot_table("measured", "class", "row", "mean", sort=False, dropna=False)
            found[heading] = means.rename(columns={row: table.rows[row].label for row in means})
    return found


def _shared_baseline(table: Table) -> list[int]:
    """Index of the row that all gains are over, if there is one; it stays on top when rows are sorted."""
    baselines = set(table.baselines) - {None}
    return [row for row in baselines if row is not None] if len(baselines) == 1 else []


def _of_which_less_is_better(table: Table, gains: pd.DataFrame) -> list[str]:
    """Headings of the metrics that have gains and are errors."""
    with_gains = set(gains.dropna(subset=["gain"]).metric)
    return [table.columns[name] for name in table.columns if name in with_gains and METRICS[name].lower_is_better]


def _claims(table: Table, gains: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Heading of each tested metric to what has become of its published gains, and of which rows."""
    judged = gains.dropna(subset=["claim"])
    return {
        heading: {str(claim): list(of_claim.name) for claim, of_claim in judged[judged.metric == metric].groupby("claim")}
        for metric, heading in table.columns.items()
        if (judged.metric == metric).any()
    }


def _seeds_by_name(missing: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows of which runs are missing, and the seeds of these, such as ``0–3, 7``."""
    by_name = missing.drop_duplicates(["name", "seed"]).groupby("name")
    return [(str(name), _in_short(sorted(runs.seed.astype(int)))) for name, runs in by_name]


def _in_short(seeds: list[int]) -> str:
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    return ", ".join(f"{span[0]}–{span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in spans)


def _metrics(table: Table) -> dict[str, str]:
    """Metrics and headings, with those that a report shows beside others."""
    columns: dict[str, str] = {}
    for metric, heading in table.columns.items():
        columns[metric] = heading
        added = METRICS[metric].adds
        columns |= {added[0]: added[1]} if added else {}
    return columns


def _measured(results: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """The results of the columns, in the units of their headings."""
    frame = results[results.metric.isin([*columns, "fps"])].copy()
    unit = frame.metric.map({name: metric.unit for name, metric in METRICS.items()})
    frame["measured"] = frame.measured.astype(float) / unit
    return frame


def _values(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Mean, deviation, count and published number of each (metric, row)."""
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
    parser.add_argument("--gains", required=True, type=Path)
    parser.add_argument("--classes", required=True, type=Path)
    parser.add_argument("output", type=Path, help="without extension")
    arguments = parser.parse_args()
    speed = read_costs(arguments.speeds[0], Speeds) if arguments.speeds else None
    scale = load_scale(arguments.scale)
    whole = study_at(load_study(arguments.study), scale)
    study = whole.only_rows(arguments.rows)
    all_rows = len(whole.tables[arguments.table].rows)
    results, provenance = read_tidy(arguments.results), read_tidy(arguments.runs)
    gains, classes = read_tidy(arguments.gains), read_tidy(arguments.classes)
    context = make_table(study, arguments.table, scale, results, provenance, speed, all_rows, gains, classes)
    files = [arguments.output.with_name(f"{arguments.output.name}.{extension}") for extension in FORMATS]
    for file in files:
        write_text_atomically(file, render(context, file.suffix[1:]))
    keep_copies(files, scale.name, results, arguments.rows is None)


if __name__ == "__main__":
    report_user_errors(main)
