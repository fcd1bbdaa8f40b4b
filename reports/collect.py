"""Metrics files -> tidy tables of a report: one line per row, seed and metric, and one per point of a training curve."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from experiments.errors import UserError, report_user_errors
from experiments.records.cost_files import Counts, Speeds, read_costs
from experiments.records.metrics_file import Provenance, RunMetrics, read_metrics
from experiments.records.server_results import answer_file, read_answer
from experiments.records.stale_runs import is_stale
from experiments.spec.dataset_identity import DatasetIdentity, read_identity
from experiments.spec.metrics import AUXILIARY_LOSSES, COMPLEXITY, METRICS
from experiments.spec.offered_rows import table_at
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import Row, Table, load_study
from reports.gains import gains
from reports.tidy_files import write_tidy


@dataclass(frozen=True)
class Collected:
    """The tidy tables of a report.

    Attributes
    ----------
    results : DataFrame
        row, name, run, setting (`Setting.key`), seed, metric, measured (missing where the run has not finished), published,
        date, versions.
    history : DataFrame
        row, name, run, seed, iteration, loss.
    runs : DataFrame
        Where the numbers come from, a line for each finished run of a row: row, name, run, seed, and what `RUN_COLUMNS` names;
        stale tells whether the sources of its models have changed since.
    classes : DataFrame
        row, name, run, seed, class, metric, measured: what runs have left for each class.
    """

    results: pd.DataFrame
    history: pd.DataFrame
    runs: pd.DataFrame
    classes: pd.DataFrame


RESULT_COLUMNS = [
    *("row", "name", "run", "setting", "seed", "metric", "measured", "published", "date", "versions"),
    *("x_name", "x"),
]
CLASS_COLUMNS = ["row", "name", "run", "seed", "class", "metric", "measured"]
HISTORY_COLUMNS = ["row", "name", "run", "setting", "detector", "seed", "metric", "iteration", "epoch", "value"]
PROVENANCE = (
    *("date", "seconds", "seconds_per_iteration", "peak_memory_gib", "effective_batch", "learning_rate"),
    *("commit", "clean", "checkpoint"),
)
RUN_COLUMNS = ["row", "name", "run", "seed", "stale", *PROVENANCE, "machine", "repeats", "annotations", "images"]
# Packages whose versions a report names.
PACKAGES = ("torch", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection", "numpy")


def collect(
    table: Table,
    scale_name: str,
    seeds: list[int],
    costs: Mapping[str, dict[str, float]] = MappingProxyType({}),
    dataset: DatasetIdentity | None = None,
) -> Collected:
    """Collect the metrics, training curves and provenance of a table's runs.

    Parameters
    ----------
    table : Table
        The table to collect.
    scale_name : str
        The scale that they ran at.
    seeds : list of int
        Seeds of the runs.
    costs : dict, optional
        `Setting.key` to parameters, FLOPs, memory and frames per second.
    dataset : DatasetIdentity, optional
        Identity of the dataset that all runs must have been trained on.

    Raises
    ------
    UserError
        If a run was trained on another dataset, its metrics cannot be read, or rows were trained with other batch sizes or
        learning rates than others and the table does not say that it compares them.
    """
    scale = load_scale(scale_name)
    results: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for index, row in enumerate(table.rows):
        identity = {"row": index, "name": row.label, **_varied(row)}
        if row.setting is None:
            results += [{**identity, "metric": metric, "published": row.published.get(metric)} for metric in table.columns]
            continue
        for seed in seeds:
            run = Run(row.setting, scale, seed)
            metrics = _read_checked(run, dataset)
            place = {**identity, "run": run.id, "setting": row.setting.key, "seed": seed}
            results += [{**place, **line} for line in _accuracy(table, row, metrics, read_answer(answer_file(run.id)))]
            if metrics:
                runs.append({**place, **_provenance(run, metrics)})
                classes += [
                    {**place, "class": name, "metric": metric, "measured": value}
                    for name, of_class in metrics.classes.items()
                    for metric, value in of_class.items()
                ]
                history += [{**place, "detector": row.setting.detector, **point} for point in _course(metrics)]
        results += [
            {**identity, "metric": metric, "measured": value, "published": row.published.get(metric)}
            for metric, value in costs.get(row.setting.key, {}).items()
        ]
    collected_runs = pd.DataFrame(runs, columns=RUN_COLUMNS)
    known = collected_runs.dropna(subset=["effective_batch", "learning_rate"])
    table.refuse_mixed_settings(known[["name", "effective_batch", "learning_rate"]].itertuples(index=False, name=None))
    return Collected(
        pd.DataFrame(results, columns=RESULT_COLUMNS),
        pd.DataFrame(history, columns=HISTORY_COLUMNS),
        collected_runs,
        pd.DataFrame(classes, columns=CLASS_COLUMNS),
    )


def _varied(row: Row) -> dict[str, Any]:
    return {"x_name": next(iter(row.x), None), "x": next(iter(row.x.values()), None)}


def _course(metrics: RunMetrics) -> list[dict[str, Any]]:
    """The points of a run's curves: the losses of the detector, without what a neck adds, and what was validated."""
    losses = [
        {
            "metric": "loss",
            "iteration": point["iteration"],
            "value": point["loss"] - sum(point.get(name, 0.0) for name in AUXILIARY_LOSSES),
        }
        for point in metrics.history
    ]
    validated = [
        {"metric": name, "epoch": point["epoch"], "value": value}
        for point in metrics.validations
        for name, value in point.items()
        if name in METRICS
    ]
    return losses + validated


def _read_checked(run: Run, dataset: DatasetIdentity | None) -> RunMetrics | None:
    metrics = read_metrics(run.metrics_file)
    if dataset and metrics and metrics.dataset != dataset:
        raise UserError(
            f"{run.metrics_file} comes from another dataset than datasets/{run.scale.name}.json describes:"
            " delete it to train again, or point data_root back"
        )
    return metrics


def _provenance(run: Run, metrics: RunMetrics) -> dict[str, Any]:
    provenance, validation = metrics.provenance, metrics.dataset and metrics.dataset.val
    hardware = provenance.hardware
    machines = hardware.get("gpus") or ([hardware.get("processor")] if hardware else [])
    return {
        **{key: getattr(provenance, key) for key in PROVENANCE},
        "seconds": provenance.whole_seconds,
        "stale": is_stale(run, provenance.sources),
        "machine": ", ".join(dict.fromkeys(machines)),
        "repeats": _where_it_repeats(hardware),
        "annotations": validation and validation.annotations_sha256,
        "images": validation and validation.images,
    }


def _where_it_repeats(hardware: dict[str, Any]) -> str | None:
    """Where the same commit gives a run's numbers again, bit for bit: 'nowhere', on the same 'processor', on all of 'x86'."""
    if not hardware:
        return None
    if hardware.get("gpus"):
        return "nowhere"
    return "x86" if hardware.get("vector_width") else "processor"


def _accuracy(table: Table, row: Row, metrics: RunMetrics | None, answer: dict[str, float]) -> list[dict[str, Any]]:
    measured = {**(metrics.metrics if metrics else {}), **answer}
    provenance = metrics.provenance if metrics else Provenance()
    named = [f"{package} {provenance.versions[package]}" for package in PACKAGES if package in provenance.versions]
    return [
        {
            "metric": metric,
            "measured": measured.get(metric),
            "published": row.published.get(metric),
            "date": provenance.date,
            "versions": ", ".join(named) or None,
        }
        for metric in table.columns
        if metric not in COMPLEXITY
    ]


def _read_costs(counts: list[Path], speeds: list[Path]) -> dict[str, dict[str, float]]:
    """Counts and speeds by setting."""
    costs: dict[str, dict[str, float]] = {}
    for path in counts:
        costs |= read_costs(path, Counts).counts
    for path in speeds:
        for key, rate in read_costs(path, Speeds).frames_per_second.items():
            costs[key] = {**costs.get(key, {}), "fps": rate}
    return costs


def _read_dataset(paths: list[Path]) -> DatasetIdentity | None:
    return read_identity(paths[0]) if paths else None


def main() -> None:
    """Collect the results of one table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--rows", nargs="*", help="names of the rows that the report is restricted to; all by default")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seeds", required=True, type=int, nargs="+")
    parser.add_argument("--counts", type=Path, nargs="*", default=[], help="output of experiments.cost.complexity")
    parser.add_argument("--speeds", type=Path, nargs="*", default=[], help="output of experiments.cost.speed")
    parser.add_argument("--dataset", type=Path, nargs="*", default=[], help="identity of the dataset of all runs")
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--history", required=True, type=Path)
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--gains", required=True, type=Path)
    parser.add_argument("--classes", required=True, type=Path)
    arguments = parser.parse_args()
    scale = load_scale(arguments.scale)
    table = table_at(load_study(arguments.study).tables[arguments.table].only_rows(arguments.rows), scale)
    costs, dataset = _read_costs(arguments.counts, arguments.speeds), _read_dataset(arguments.dataset)
    collected = collect(table, arguments.scale, arguments.seeds, costs, dataset)
    write_tidy(arguments.gains, gains(table, scale, collected.results))
    write_tidy(arguments.results, collected.results)
    write_tidy(arguments.history, collected.history)
    write_tidy(arguments.runs, collected.runs)
    write_tidy(arguments.classes, collected.classes)


if __name__ == "__main__":
    report_user_errors(main)
