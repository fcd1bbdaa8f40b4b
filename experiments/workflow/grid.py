"""The grid: every table, row and run that the configuration asks for, computed without importing torch."""

import os
from collections import defaultdict
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from experiments.errors import UserError
from experiments.paths import (
    CONFIGURATION,
    FORMER_SERVER_RESULTS,
    RUNS,
    SCALES,
    SERVER_RESULTS,
    STUDIES,
    backbone_file,
    metrics_file,
    run_folder,
)
from experiments.records.server_results import read_answer
from experiments.spec.configuration import Configuration
from experiments.spec.metrics import PROTOCOLS
from experiments.spec.offered_rows import study_at
from experiments.spec.run import Run
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import Study, Table, load_study
from experiments.spec.yaml_models import validate

NAMED_ROWS = 8


class Grid:
    """The tables, rows and runs of a configuration.

    Parameters
    ----------
    configuration : dict
        Keys and values of `Configuration`.

    Raises
    ------
    UserError
        If the configuration, a study or the scale is wrong, or nothing can be written here.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        if not os.access(".", os.W_OK):
            raise UserError(f"no permission to write {Path.cwd()}: change its owner or mode, or run from another folder")
        self.configuration = validate(dict(configuration), Configuration, str(CONFIGURATION))
        self.scale: Scale = load_scale(self.configuration.scale)
        studies = [load_study(name) for name in self.configuration.studies]
        self._check_rows(studies)
        self.studies: list[Study] = [study_at(study.only_rows(self.configuration.rows), self.scale) for study in studies]
        if not self.scale.dataset.is_drawn and self.configuration.data_root is None:
            raise UserError(f"{CONFIGURATION}: data_root: scale {self.scale.name} needs the folder of its dataset")
        if len(self.tables) < sum(len(study.tables) for study in self.studies):
            names = ", ".join(study.name for study in self.studies)
            raise UserError(
                f"{CONFIGURATION}: studies: two tables of {names} have the same report name; change a report_prefix"
            )
        if "index" in self.tables:
            study = self.tables["index"][0]
            raise UserError(f"{STUDIES / study.name}.yaml: a report is called index, like the page of all; rename its table")
        self._check_runs()
        if self.scale.test_set:
            self._check_answers()

    def _check_rows(self, studies: list[Study]) -> None:
        """Refuse names of `rows` that no table has."""
        rows = [row for study in studies for table in study.tables.values() for row in table.rows]
        known = list(dict.fromkeys(name for row in rows for name in sorted(row.called)))
        for name in self.configuration.rows or []:
            if name not in known:
                nearest = get_close_matches(name, known, NAMED_ROWS, 0)
                raise UserError(
                    f"{CONFIGURATION}: rows: no table of {', '.join(self.configuration.studies)} has a row {name!r}; the"
                    f" nearest are: {', '.join(nearest)}"
                )

    def _check_answers(self) -> None:
        """Refuse an evaluation server's results that belong to no run: a misnamed file would be overlooked."""
        if misplaced := sorted(FORMER_SERVER_RESULTS.glob("*.json")):
            raise UserError(f"{misplaced[0]}: the evaluation server's results lie in {SERVER_RESULTS}/; move the files there")
        for path in sorted(SERVER_RESULTS.glob("*.json")):
            read_answer(path)
            if not (path.stem in self.runs or run_folder(path.stem).is_dir() or path.stem in self._runs_of_all_studies):
                raise UserError(
                    f"{path}: no run has this id at scale {self.scale.name} with seeds"
                    f" {', '.join(map(str, self.configuration.seeds))}; name the file by the run that was submitted, whose id"
                    " stands under its table"
                )

    @cached_property
    def _runs_of_all_studies(self) -> set[str]:
        studies = [study_at(load_study(path.stem), self.scale) for path in STUDIES.glob("*.yaml")]
        settings = [setting for study in studies for table in study.tables.values() for setting in table.settings]
        return {Run(setting, self.scale, seed).id for setting in settings for seed in self.configuration.seeds}

    def _check_runs(self) -> None:
        for report, (study, key) in self.tables.items():
            place, table, trained = f"{STUDIES / study.name}.yaml: tables.{key}", self.table(report), []
            for row in table.rows:
                try:
                    run = Run(row.setting, self.scale, seed=0) if row.setting else None
                    _check_source(run)
                except UserError as error:
                    raise UserError(f"{place}: row {row.label!r}: {error}") from None
                trained += [(row.label, run.effective_batch, run.learning_rate)] if run else []
            if trained:
                self._check_columns(table, place)
            try:
                table.refuse_mixed_settings(trained)
            except UserError as error:
                raise UserError(f"{place}: {error}") from None

    def _check_columns(self, table: Table, place: str) -> None:
        """Refuse a column that every run would leave empty, because its protocol is none of the scale's."""
        for protocol, metrics in PROTOCOLS.items():
            asked = [metric.name for metric in metrics if metric.name in table.columns]
            if asked and protocol not in self.scale.protocols:
                raise UserError(
                    f"{place}.columns: {asked[0]} is measured where a scale has protocols: [{protocol}], and"
                    f" {SCALES / self.scale.name}.yaml has {self.scale.protocols or 'none'}"
                )

    @cached_property
    def tables(self) -> dict[str, tuple[Study, str]]:
        """Report name to (study, key of the table)."""
        return {study.report(key): (study, key) for study in self.studies for key in study.tables}

    @cached_property
    def runs(self) -> dict[str, Run]:
        """All runs by id, those too whose backbones others begin with; a run that several rows share is listed once."""
        return {each.id: each for report in self.tables for run in self.runs_of(report) for each in run.with_sources}

    @property
    def reports_on_cost(self) -> list[str]:
        """Reports that compare cost."""
        return [report for report in self.reports_with_figures if self.table(report).compares_complexity]

    @property
    def summary(self) -> str:
        """How many rows share how many runs, in one line."""
        rows = sum(len(self.table(report).rows) for report in self.tables)
        runnable = sum(len(self.table(report).settings) for report in self.tables)
        finished = sum(run.metrics_file.exists() for run in self.runs.values())
        seeds = len(self.configuration.seeds)
        return (
            f"scale {self.scale.name}, {len(self.tables)} tables, {rows} rows: {runnable} can be run and share"
            f" {len(self.runs)} runs ({seeds} {'seed' if seeds == 1 else 'seeds'}), {finished} of them finished"
        )

    def table(self, report: str) -> Table:
        """The table behind a report name."""
        study, key = self.tables[report]
        return study.tables[key]

    def runs_of(self, report: str) -> list[Run]:
        """The runs that a table's rows ask for, one per seed."""
        return self._runs_of_reports[report]

    @cached_property
    def _runs_of_reports(self) -> dict[str, list[Run]]:
        """Cached, because Snakemake asks for each table's runs repeatedly and a run computes its id once."""
        seeds = self.configuration.seeds
        return {
            report: [Run(setting, self.scale, seed) for setting in self.table(report).settings for seed in seeds]
            for report in self.tables
        }

    def rows_of_runs(self, reports: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """Run id to the rows that show it, each as report and label.

        Parameters
        ----------
        reports : iterable of str
            Reports whose rows are named.
        """
        seeds, rows = self.configuration.seeds, defaultdict(list)
        for report in reports:
            labels = [row.label for row in self.table(report).rows if row.setting for _ in seeds]
            for run, label in zip(self.runs_of(report), labels, strict=True):
                rows[run.id].append((report, label))
                for source in run.with_sources[1:]:
                    rows[source.id].append((report, f"backbone of {label}"))
        return rows

    @property
    def reports_with_figures(self) -> list[str]:
        """Reports with figures: those of which anything can be run."""
        return [report for report in self.tables if self.table(report).settings]

    @cached_property
    def needs_stuff_maps(self) -> bool:
        """Whether any run trains on maps of stuff and things that are not drawn."""
        return any(self.trains_on_stuff_maps(run) for run in self.runs.values())

    def learns_masks(self, run: Run) -> bool:
        """Whether a run learns from the masks of objects.

        Parameters
        ----------
        run : Run
            A run of this grid.
        """
        return self.scale.detectors[run.setting.detector].masks

    def learns_polygons(self, run: Run) -> bool:
        """Whether a run learns from masks that stay polygons, so that encoded ones would be lost.

        Parameters
        ----------
        run : Run
            A run of this grid.
        """
        return self.learns_masks(run) and self.scale.schedules[run.setting.schedule].polygons

    def masks_of(self, runs: Iterable[Run]) -> Literal["any", "polygons"] | None:
        """What masks the objects need so that all of some runs can learn from them.

        Parameters
        ----------
        runs : iterable of Run
            Runs of this grid.
        """
        learners = list(filter(self.learns_masks, runs))
        if any(map(self.learns_polygons, learners)):
            return "polygons"
        return "any" if learners else None

    def trains_on_stuff_maps(self, run: Run) -> bool:
        """Whether a run trains on maps of stuff and things that are not drawn.

        Parameters
        ----------
        run : Run
            A run of this grid.
        """
        return self.scale.detectors[run.setting.detector].stuff_maps and not self.scale.dataset.is_drawn


def _check_source(run: Run | None) -> None:
    """Refuse to begin with the backbone of a run that is neither finished nor made here first."""
    first = run.with_sources[-1] if run else None
    if first and first.load_from and not (metrics_file(first.load_from).exists() or backbone_file(first.load_from).exists()):
        raise UserError(
            f"load_from: run {first.load_from} is not finished here, and only its own scale and study can train it; train it"
            f" first, or put its folder into {RUNS}/"
        )


def rows_in_words(rows: Iterable[tuple[str, str]]) -> str:
    """Rows for people, such as ``table2, table4: FPN; table3: A²-FPN``; reports that call a run alike stand together.

    Parameters
    ----------
    rows : iterable of (str, str)
        Report and label of each row.
    """
    reports: dict[str, list[str]] = {}
    for report, label in rows:
        reports.setdefault(label, []).append(report)
    return "; ".join(f"{', '.join(names)}: {label}" for label, names in reports.items())
