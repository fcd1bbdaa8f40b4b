"""The grid: every table, row and run that the configuration asks for, computed without importing torch."""

import inspect
import json
import math
import os
import shlex
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from experiments.errors import UserError
from experiments.records.server_results import ANSWERS, answer_file, read_answer
from experiments.spec.configuration import Configuration
from experiments.spec.run import Run
from experiments.spec.scale import Scale, load_scale
from experiments.spec.sources import source_files, sources_fingerprint
from experiments.spec.study import STUDIES, TEST_ACCURACY, Study, Table, load_study
from experiments.spec.yaml_models import validate

PAPER_SCALE = "coco"
FIGURES = ("ap", "flops", "curves")
# As many ids as fit into a command line.
NAMED_RUNS = 1000
Function = TypeVar("Function", bound=Callable)


def _inspected_once(function: Function) -> Function:
    """Keep a function's signature with it: Snakemake asks for it several times for each job."""
    function.__signature__ = inspect.signature(function)
    return function


class Grid:
    """What a configuration asks for.

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
        self.configuration = validate(dict(configuration), Configuration, "experiments/config.yaml")
        self.scale: Scale = load_scale(self.configuration.scale)
        self.studies: list[Study] = [load_study(name) for name in self.configuration.studies]
        if self.scale.dataset.kind == "coco" and self.configuration.data_root is None:
            raise UserError(f"experiments/config.yaml: data_root: scale {self.scale.name} needs the folder of its dataset")

        self._trained_reports: set[str] = set()
        self._asked_runs: set[str] = set()
        if len(self.tables) < sum(len(study.tables) for study in self.studies):
            names = ", ".join(study.name for study in self.studies)
            raise UserError(
                f"experiments/config.yaml: studies: two tables of {names} have the same report name; change a report_prefix"
            )
        self._check_runs()
        if self.scale.test_set:
            self._check_answers()

    def _check_answers(self) -> None:
        """Refuse an answer of an evaluation server that belongs to no run: under a wrong name it would be overlooked."""
        for path in sorted(ANSWERS.glob("*.json")):
            read_answer(path)
            if not (path.stem in self.runs or Path("runs", path.stem).is_dir() or path.stem in self._runs_of_all_studies):
                raise UserError(
                    f"{path}: no run has this id at scale {self.scale.name} with seeds"
                    f" {', '.join(map(str, self.configuration.seeds))}; name the file by the run that was submitted, whose id"
                    " stands under its table"
                )

    @cached_property
    def _runs_of_all_studies(self) -> set[str]:
        studies = [load_study(path.stem) for path in STUDIES.glob("*.yaml")]
        settings = [setting for study in studies for table in study.tables.values() for setting in table.settings]
        return {Run(setting, self.scale, seed).id for setting in settings for seed in self.configuration.seeds}

    def _check_runs(self) -> None:
        for report, (study, key) in self.tables.items():
            place, table, trained = f"{STUDIES / study.name}.yaml: tables.{key}", self.table(report), []
            for row in table.rows:
                try:
                    run = Run(row.setting, self.scale, seed=0) if row.setting else None
                except UserError as error:
                    raise UserError(f"{place}: row {row.label!r}: {error}") from None
                trained += [(row.label, run.effective_batch, run.learning_rate)] if run else []
            try:
                table.refuse_mixed_settings(trained)
            except UserError as error:
                raise UserError(f"{place}: {error}") from None

    @cached_property
    def tables(self) -> dict[str, tuple[Study, str]]:
        """Report name to (study, key of the table)."""
        return {study.report(key): (study, key) for study in self.studies for key in study.tables}

    @cached_property
    def runs(self) -> dict[str, Run]:
        """All runs by id, each once however many rows ask for it."""
        return {run.id: run for report in self.tables for run in self.runs_of(report)}

    def run(self, identifier: str) -> Run:
        """The run with an id.

        Raises
        ------
        SystemExit
            With one sentence, if there is none. Other exceptions of input functions Snakemake tells with a traceback.
        """
        if identifier not in self.runs:
            studies, seeds = self.configuration.studies, self.configuration.seeds
            raise SystemExit(
                f"error: runs/{identifier}: {', '.join(studies)} at scale {self.scale.name} with seeds"
                f" {', '.join(map(str, seeds))} have no run of this id; the ids stand under each table, and --config studies=…"
                " scale=… seeds=… chooses others"
            )
        return self.runs[identifier]

    @property
    def reports_on_cost(self) -> list[str]:
        """Reports that compare cost."""
        return [report for report in self.drawn_reports if self.table(report).compares_complexity]

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
        """Computed once: Snakemake asks for each table's runs again and again, and a run computes its id once."""
        seeds = self.configuration.seeds
        return {
            report: [Run(setting, self.scale, seed) for setting in self.table(report).settings for seed in seeds]
            for report in self.tables
        }

    def everything(self, _wildcards: object = None) -> list[str]:
        """All reports. Asking for them also asks for the trainings that a table about cost would do without."""
        self._trained_reports.update(self.tables)
        tables = [f"reports/{report}.md" for report in self.tables]
        figures = [f"{report}_{figure}" for report in self.drawn_reports for figure in FIGURES]
        figures += [f"{report}_latency" for report in self.reports_on_cost]
        return tables + [f"reports/figures/{figure}.png" for figure in figures]

    @property
    def drawn_reports(self) -> list[str]:
        """Reports with figures: those of which anything can be run."""
        return [report for report in self.tables if self.table(report).settings]

    def metrics_for_table(self, wildcards: Any) -> list[str]:
        """Files that a table is made from: of all its runs, or of those that exist where none shall be trained for it."""
        trains = self.table(wildcards.report).trains_when_alone or wildcards.report in self._trained_reports
        return self.metrics(wildcards) if trains else self.existing_metrics(wildcards)

    def metrics_for_figures(self, wildcards: Any) -> list[str]:
        """The trainings that a figure asks for where its table would do without them."""
        self._trained_reports.add(wildcards.report)
        return [] if self.table(wildcards.report).trains_when_alone else self.metrics(wildcards)

    def dataset_of_table(self, wildcards: Any) -> list[str]:
        """The identity of the dataset, where there are metrics that must come from it."""
        return [self.dataset_checked] if self.metrics_for_table(wildcards) else []

    def metrics(self, wildcards: Any) -> list[str]:
        """Metrics files of all runs of a report, or of those that exist where the configuration forbids training."""
        if self.configuration.train == "none":
            return self.existing_metrics(wildcards)
        return list(dict.fromkeys(str(run.metrics_file) for run in self.runs_of(wildcards.report)))

    def existing_metrics(self, wildcards: Any) -> list[str]:
        """Metrics files of the runs of a report that have finished."""
        files = dict.fromkeys(run.metrics_file for run in self.runs_of(wildcards.report))
        return [str(file) for file in files if file.exists()]

    def cost_of_table(self, wildcards: Any) -> list[str]:
        """The files with the columns of a table about cost, always at the paper's scale."""
        if wildcards.report not in self.reports_on_cost:
            return []
        return [f"complexity/{PAPER_SCALE}/{wildcards.report}{part}.json" for part in ("", "_speed")]

    def answers(self, wildcards: Any) -> list[str]:
        """The evaluation server's answers to submissions of a report's runs, where the table has columns for them."""
        if not any(metric in TEST_ACCURACY for metric in self.table(wildcards.report).columns):
            return []
        files = dict.fromkeys(answer_file(run.id) for run in self.runs_of(wildcards.report))
        return [str(file) for file in files if file.exists()]

    def trained(self, wildcards: Any) -> str:
        """When a run finished: as a parameter it makes a new submission of a run that was trained again."""
        metrics = Path("runs", wildcards.run, "metrics.json")
        return datetime.fromtimestamp(metrics.stat().st_mtime).isoformat() if metrics.exists() else "never"

    def settings_json(self, wildcards: Any) -> str:
        """The settings of a report's rows as a JSON list."""
        return json.dumps([setting.model_dump() for setting in self.table(wildcards.report).settings])

    def sources_of_report(self, wildcards: Any) -> list[str]:
        """The project's own source files that decide the cost of a report's rows."""
        return source_files([model for run in self.runs_of(wildcards.report) for model in run.models])

    def training_sources_of_report(self, wildcards: Any) -> list[str]:
        """The files with the hashes of the project's own source files that decide the results of a report's rows."""
        return list(dict.fromkeys(sources_fingerprint(run.models) for run in self.runs_of(wildcards.report)))

    def study_of(self, wildcards: Any) -> str:
        """Name of a report's study."""
        return self.tables[wildcards.report][0].name

    def study_file(self, wildcards: Any) -> str:
        """File of a report's study."""
        return str(STUDIES / f"{self.study_of(wildcards)}.yaml")

    def table_of(self, wildcards: Any) -> str:
        """Key of a report's table in its study."""
        return self.tables[wildcards.report][1]

    @property
    def runs_that_may_be_trained(self) -> str:
        """Regular expression of their ids; of none where the configuration forbids training, so that stale runs stay.

        Without finished runs where the dataset's identity has gone: Snakemake would train them again as soon as it is made.
        """
        if self.configuration.train == "none":
            return "none"
        finished = [] if self._has_identity else [run.id for run in self.runs.values() if run.metrics_file.exists()]
        return f"(?!{'|'.join(finished)})[0-9a-f]{{12}}" if finished else "[0-9a-f]{12}"

    @property
    def _has_identity(self) -> bool:
        files = [self.dataset_checked, *([self.stuff_maps_checked] if self.needs_stuff_maps else [])]
        return all(Path(file).exists() for file in files)

    @property
    def launcher(self) -> str:
        """The command that starts a training: one process, or one per GPU."""
        gpus = self.scale.resources.gpus
        return "python" if gpus <= 1 else f"python -m experiments.training.launch {gpus}"

    def growing_resources(self, is_dry_run: bool) -> dict[str, Any]:
        """Memory (MB) and time limit (minutes) of a training: the scale's at the first attempt, then more, at most twice that.

        A dry run has one attempt and needs no folder for temporary files: three functions less to ask for each run, which are
        a seventh of its time.
        """
        memory, minutes = self.scale.resources.memory_mb, self.scale.resources.runtime_minutes
        if is_dry_run:
            return {"mem_mb": memory, "runtime": minutes, "tmpdir": None}
        return {
            "mem_mb": lambda _wildcards, attempt: _grown(memory, attempt),
            "runtime": lambda _wildcards, attempt: _grown(minutes, attempt),
        }

    @property
    def gpu_resources(self) -> dict[str, int]:
        """What a job on GPUs asks for; nothing without.

        On one machine such jobs come one after the other (`gpu_training`), because nothing else keeps two from the same GPU.
        One process starts those of all GPUs: one task, not one per GPU, and all GPUs in one machine.
        """
        gpus = self.scale.resources.gpus
        return {"gpu": gpus, "gpu_training": 1, "tasks_per_gpu": 0, "nodes": 1} if gpus else {}

    @property
    def expected_splits(self) -> str:
        """What the dataset must hold to be complete, as JSON."""
        return json.dumps({name: split.model_dump(mode="json") for name, split in self.scale.expected_splits.items()})

    @property
    def dataset_checked(self) -> str:
        """File with the identity of the dataset, which was seen to be complete."""
        return f"datasets/{self.scale.name}.json"

    @property
    def stuff_maps_checked(self) -> str:
        """File of the check of the maps of stuff and things."""
        return f"datasets/{self.scale.name}_stuff_maps.json"

    @property
    def gpus_checked(self) -> str:
        """File of the check of GPUs."""
        return f"checks/{self.scale.name}_{self.scale.resources.gpus}_gpus.json"

    @property
    def disk_checked(self) -> str:
        """File of the check of disk space."""
        return f"checks/{self.scale.name}_disk.json"

    @property
    def checks(self) -> list[str]:
        """Files of all checks."""
        return [self.gpus_checked, self.disk_checked]

    @property
    def marks_of_readiness(self) -> list[str]:
        """Files that trainings wait for where they ask for GPUs; whether they do is part of a run and never changes."""
        return ["runs/{run}/ready"] if self.scale.resources.gpus else []

    def gpus_to_check(self, _wildcards: object, input: object) -> int:
        """GPUs that are tried before any training is submitted; untracked, as it takes the input."""
        return self.scale.resources.gpus if self.scale.resources.check_gpus else 0

    def configuration_json(self, _wildcards: object, input: object) -> str:
        """The configuration as JSON; untracked."""
        return self.configuration.model_dump_json()

    def runs_to_store(self, _wildcards: object, input: object) -> list[str]:
        """Ids of the missing runs that were asked for; none, which means all, where a command line cannot hold them."""
        asked = [run for run in sorted(self._asked_runs) if not self.runs[run].metrics_file.exists()]
        return asked if len(asked) <= NAMED_RUNS else []

    def write_fingerprints(self) -> None:
        """Write the files with the hashes of the sources of all runs, where they are missing or have changed."""
        for run in self.runs.values():
            sources_fingerprint(run.models)

    @_inspected_once
    def sources(self, wildcards: Any) -> list[str]:
        """The file with the hashes of the project's own source files that decide a run's result."""
        self._asked_runs.add(wildcards.run)
        return [sources_fingerprint(self.run(wildcards.run).models)]

    @property
    def needs_stuff_maps(self) -> bool:
        """Whether any run trains on maps of stuff and things that are not drawn."""
        return any(self._trains_on_stuff_maps(run) for run in self.runs.values())

    @_inspected_once
    def stuff_maps(self, wildcards: Any) -> list[str]:
        """What shows that the maps of stuff and things that a run trains on were checked."""
        needed = self._trains_on_stuff_maps(self.run(wildcards.run))
        return [self.stuff_maps_checked] if needed else []

    def _trains_on_stuff_maps(self, run: Run) -> bool:
        return self.scale.detectors[run.setting.detector].stuff_maps and self.scale.dataset.kind == "coco"

    @_inspected_once
    def run_arguments(self, wildcards: Any, input: object) -> str:
        """What names a run to `experiments.configs.write`; untracked, as the run's id stands for all of it."""
        run = self.run(wildcards.run)
        return shlex.join(["--scale", self.scale.name, "--seed", str(run.seed), "--setting", run.setting.model_dump_json()])


def _grown(value: int, attempt: int) -> int:
    return math.ceil(value * min(1 + (attempt - 1) / 2, 2))
