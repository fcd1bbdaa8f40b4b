"""Input functions and parameters of the Snakefile's rules, computed from wildcards and the grid alone."""

import hashlib
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterable
from datetime import datetime
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from experiments.data.folders import check_root
from experiments.errors import UserError
from experiments.paths import (
    CHECKS,
    COMPLEXITY,
    DATASETS,
    FIGURES,
    REPORTS,
    RUN_ID,
    STUDIES,
    backbone_file,
    metrics_file,
    run_folder,
)
from experiments.records.checked_necks import passed_file
from experiments.records.metrics_file import recorded_sources
from experiments.records.recorded_times import RecordedTimes, duration
from experiments.records.run_status import RunReader
from experiments.records.server_results import answer_file
from experiments.records.stale_runs import is_stale
from experiments.spec.dataset_identity import SplitCheck, read_checked_dataset
from experiments.spec.fingerprint import program_fingerprint, task_file
from experiments.spec.metrics import TEST_ACCURACY
from experiments.spec.offered_rows import cost_scale
from experiments.spec.run import Run
from experiments.workflow.asked_reports import asked_reports
from experiments.workflow.grid import Grid, rows_in_words
from experiments.workflow.resources import resources_in_words

# One page of all reports.
INDEX = str(REPORTS / "index.html")
# Figures drawn from metrics alone. Those about cost have rules of their own, so that a failed count does not block the others.
FIGURE_NAMES = ("gains", "ap", "curves")
NAMED_REPORTS = 12
# More ids do not fit into a command line.
NAMED_RUNS = 1000
ALL = "all"
Function = TypeVar("Function", bound=Callable)


def _with_cached_signature(function: Function) -> Function:
    """Cache a function's signature, which Snakemake inspects several times for each job."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def _if_few(runs: list[str]) -> list[str]:
    """Runs, or nothing if they do not fit into a command line."""
    return runs if len(runs) <= NAMED_RUNS else []


class Targets:
    """Input functions and parameters of the rules.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration.
    asked : callable
        Gives the files and rules that the user asked for; Snakemake knows them only when it builds its graph.
    force : callable
        Tells Snakemake to make a file again though it exists.
    is_dry_run : bool
        Whether Snakemake plans only, so that the data may still be elsewhere.
    """

    def __init__(
        self, grid: Grid, asked: Callable[[], Iterable[str]], force: Callable[[str], object], is_dry_run: bool = False
    ) -> None:
        self.grid = grid
        self._is_dry_run = is_dry_run
        self._asked = asked
        self._force = force

    # What the user asked for.

    @cached_property
    def asked(self) -> frozenset[str]:
        """The requested files and rules; the rule ``all`` if none is named."""
        return frozenset(self._asked()) or frozenset({ALL})

    def all_reports(self, _wildcards: object = None) -> list[str]:
        """All tables and figures, including the trainings that a table about cost would do without."""
        tables = [str(REPORTS / f"{report}.md") for report in self.grid.tables]
        figures = [f"{report}_{figure}" for report in self.grid.reports_with_figures for figure in (*FIGURE_NAMES, "flops")]
        figures += [f"{report}_latency" for report in self.grid.reports_on_cost]
        return [*tables, *(str(FIGURES / f"{figure}.png") for figure in figures), INDEX]

    def tables_of_index(self, _wildcards: object = None) -> list[str]:
        """The tables' pages that the page of all reports waits for: those asked for beside it. Others are shown as they are."""
        return [str(REPORTS / f"{report}.html") for report in self.grid.tables if report in self._asked_reports]

    def others_on_index(self, _wildcards: object, input: object) -> str:
        """Hash of the reports that have been made before; as a parameter it renews the page."""
        asked = set(self.tables_of_index())
        pages = [REPORTS / f"{report}.html" for report in self.grid.tables]
        made = [(str(page), page.stat().st_mtime_ns) for page in pages if str(page) not in asked and page.exists()]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]

    @cache  # noqa: B019 - there is one object of this class, and it lives as long as its process
    def trains(self, report: str) -> bool:
        """Whether missing runs of a table are trained; not for a table about cost that is requested alone.

        Parameters
        ----------
        report : str
            The table's report name.
        """
        return (
            self.grid.table(report).is_trained_for_itself
            or ALL in self.asked
            or report in asked_reports(self.asked, self.grid.tables, (FIGURES,))
        )

    def runs_to_store(self, _wildcards: object, input: object) -> list[str]:
        """Ids of the requested missing runs; empty, meaning all, if they do not fit into a command line."""
        return _if_few([run for run in self._asked_runs() if not metrics_file(run).exists()])

    def _asked_runs(self) -> list[str]:
        by_file = {str(run.metrics_file): run.id for run in self.grid.runs.values()}
        named = {by_file[target] for target in self.asked if target in by_file}
        reports = [report for report in self.grid.tables if report in self._asked_reports]
        asked = named | {run.id for report in reports if self.trains(report) for run in self.grid.runs_of(report)}
        return sorted({each.id for run in asked for each in self.grid.runs[run].with_sources})

    @cached_property
    def _asked_reports(self) -> frozenset[str]:
        return frozenset(self.grid.tables) if ALL in self.asked else asked_reports(self.asked, self.grid.tables)

    # A run and its training.

    def run(self, identifier: str) -> Run:
        """The run with an id.

        Raises
        ------
        SystemExit
            With one sentence, if there is none. Snakemake prints other exceptions of input functions with a traceback.
        """
        grid = self.grid
        if identifier not in grid.runs:
            studies, seeds = grid.configuration.studies, grid.configuration.seeds
            raise SystemExit(
                f"error: runs/{identifier}: {', '.join(studies)} at scale {grid.scale.name} with seeds"
                f" {', '.join(map(str, seeds))} have no run of this id; the ids stand under each table, and --config studies=…"
                " scale=… seeds=… chooses others"
            )
        return grid.runs[identifier]

    @property
    def runs_that_may_be_trained(self) -> str:
        """Regular expression of the ids of runs that may be trained; it matches nothing if the configuration forbids
        training."""
        return "none" if self.grid.configuration.train == "none" else RUN_ID

    @cache  # noqa: B019
    def state_of(self, identifier: str) -> Literal["missing", "stale", "done"]:
        """Whether a run is missing, stale or done.

        Parameters
        ----------
        identifier : str
            The run's id.
        """
        try:
            recorded = recorded_sources(metrics_file(identifier))
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "done"  # `reports.collect` reports why it cannot be read
        try:
            return "stale" if is_stale(self.run(identifier), recorded) else "done"
        except UserError as error:
            raise SystemExit(f"error: {error}") from None

    @_with_cached_signature
    def dataset_to_train_on(self, wildcards: Any) -> list[str]:
        """The checked dataset of a run to train; also forces a stale run, or one that has gone, to be trained again.

        A finished, current run has no inputs, so a missing or changed file never retrains it. Other runs are forced, as by
        ``--forcerun``. Modification times and recorded parameters would not do: runs are moved, sources are put back, and
        Snakemake does not miss the metrics that a newer table was made of.
        """
        state = self.state_of(wildcards.run)
        if state == "done":
            return []
        if state == "stale" or self._was_collected(wildcards.run):
            self._force(str(metrics_file(wildcards.run)))
        self._refuse_masks_of_another_kind(self.run(wildcards.run))
        return [self.dataset_checked]

    def _refuse_masks_of_another_kind(self, run: Run) -> None:
        """Refuse masks that a run cannot learn from, where the dataset was checked for other runs."""
        checks = self._checks_of_splits
        without = sum(check.without_mask for check in checks.values())
        encoded = checks["train"].encoded_masks if "train" in checks else 0
        if without and self.grid.learns_masks(run):
            raise SystemExit(
                f"error: {self.dataset_checked}: {without} objects have no mask, which run {run.id} learns from; add masks and"
                " delete this file, or ask for detectors without masks"
            )
        if encoded and self.grid.learns_polygons(run):
            raise SystemExit(
                f"error: {self.dataset_checked}: {encoded} objects have masks in RLE, and run {run.id} keeps polygons alone;"
                f" write polygons and delete this file, or let schedule {run.setting.schedule} say polygons: false"
            )

    def _was_collected(self, run: str) -> bool:
        """Whether a table was made that shows a run."""
        return any(report in self._collected for report, _ in self._rows.get(run, ()))

    @cached_property
    def _collected(self) -> set[str]:
        return {path.stem for path in (REPORTS / "data").glob("*.csv")}

    @cached_property
    def _checks_of_splits(self) -> dict[str, SplitCheck]:
        """What the check of the dataset has found, as far as it took place."""
        try:
            return read_checked_dataset(Path(self.dataset_checked)).checks or {}
        except (FileNotFoundError, UserError):
            return {}  # it is checked again, or trainings say what is wrong with the file

    def masks_are_needed(self, _wildcards: object, input: object) -> str:
        """The option that refuses masks from which a run that is asked for cannot learn; untracked."""
        masks = self.grid.masks_of(self.grid.runs[run] for run in self._asked_runs())
        return f"--masks {masks}" if masks else ""

    @_with_cached_signature
    def stuff_maps(self, wildcards: Any) -> list[str]:
        """The check of the maps of stuff and things, if a run trains on them."""
        needed = self.grid.trains_on_stuff_maps(self.run(wildcards.run)) and self.state_of(wildcards.run) != "done"
        return [self.stuff_maps_checked] if needed else []

    @_with_cached_signature
    def necks_to_check(self, wildcards: Any) -> list[str]:
        """The check of the necks that this call trains, unless all of them have passed it before."""
        waits = self._has_unchecked_necks and self.state_of(wildcards.run) != "done"
        return [str(CHECKS / f"necks_{self._runs_of_call}.json")] if waits else []

    @cached_property
    def _has_unchecked_necks(self) -> bool:
        runs = [self.grid.runs[run] for run in self._runs_to_train] or self.grid.runs.values()
        # The seeds of a row have one setting.
        by_setting = {id(run.setting): run for run in runs}
        return not all(passed_file(run).exists() for run in by_setting.values())

    @_with_cached_signature
    def weights_to_fetch(self, wildcards: Any) -> list[str]:
        """The pretrained weights of all trainings of this call, if this one may start from some."""
        run = self.run(wildcards.run)
        needed = run.may_name_weights and self.state_of(wildcards.run) != "done"
        return [str(CHECKS / f"weights_{self._runs_of_call}.json")] if needed else []

    @_with_cached_signature
    def backbone_to_load(self, wildcards: Any) -> list[str]:
        """The weights of another run's backbone, if this one begins with them."""
        run = self.run(wildcards.run)
        return [str(backbone_file(run.load_from))] if run.load_from and self.state_of(run.id) != "done" else []

    def run_with_backbone(self, wildcards: Any) -> list[str]:
        """The metrics of the run whose backbone is asked for, if it is trained here; another's is finished already."""
        return [str(metrics_file(wildcards.run))] if wildcards.run in self.grid.runs else []

    @cached_property
    def _runs_of_call(self) -> str:
        """Names the runs of this call, so that a marker that another call left does not stand for them."""
        return hashlib.sha256(" ".join(self._runs_to_train).encode()).hexdigest()[:12]

    @cached_property
    def _runs_to_train(self) -> list[str]:
        return [run for run in self._asked_runs() if self.state_of(run) != "done"]

    def runs_to_check(self, _wildcards: object, input: object) -> list[str]:
        """Ids of the requested runs that will be trained; empty, meaning all, if they do not fit into a command line."""
        return _if_few(self._runs_to_train)

    @_with_cached_signature
    def preflight_markers(self, wildcards: Any) -> list[str]:
        """Markers of passed pre-flight checks, for trainings on GPUs."""
        waits = self.grid.scale.resources.gpus and self.state_of(wildcards.run) != "done"
        return [f"{run_folder(wildcards.run)}/ready"] if waits else []

    @_with_cached_signature
    def run_arguments(self, wildcards: Any, input: object) -> str:
        """The arguments that name a run to `experiments.configs.write`; untracked, as the run's id stands for all of it."""
        run = self.run(wildcards.run)
        setting = run.setting.model_dump_json()
        return shlex.join(["--scale", self.grid.scale.name, "--seed", str(run.seed), "--setting", setting])

    def training_date(self, wildcards: Any) -> str:
        """When a run finished; as a parameter it renews the submission of a run that was trained again."""
        path = metrics_file(wildcards.run)
        return datetime.fromtimestamp(path.stat().st_mtime).isoformat() if path.exists() else "never"

    @_with_cached_signature
    def job_in_words(self, wildcards: Any, input: object, threads: int, resources: Any) -> str:
        """A training for people: its rows, its seed, how long it took before, and what it is given; untracked."""
        run = self.run(wildcards.run)
        seconds = self._times.seconds_of(run) if self.state_of(run.id) != "done" else None
        time = "" if seconds is None else f", about {duration(seconds)}"
        return (
            f"run {run.id}: {rows_in_words(self._rows[run.id])}, seed {run.seed}{time}\n"
            f"    threads: {threads}\n    resources: {resources_in_words(dict(resources.items()))}"
        )

    @cached_property
    def _rows(self) -> dict[str, list[tuple[str, str]]]:
        return self.grid.rows_of_runs(self.grid.tables)

    @cached_property
    def _times(self) -> RecordedTimes:
        return RecordedTimes(self.grid.scale, RunReader())

    # Datasets and checks.

    def data_root(self, _wildcards: object) -> str:
        """The folder of a dataset that is not drawn.

        Raises
        ------
        SystemExit
            With one sentence, if it is no folder, unless Snakemake plans only.
        """
        folder = self.grid.configuration.data_root
        if folder is None:
            return "none"
        if not self._is_dry_run and not self.grid.scale.dataset.is_drawn:
            try:
                check_root(Path(folder))
            except UserError as error:
                raise SystemExit(f"error: {error}") from None
        return folder

    @property
    def expected_splits(self) -> str:
        """What the dataset must hold to be complete, as JSON."""
        return json.dumps({name: split.model_dump(mode="json") for name, split in self.grid.scale.expected_splits.items()})

    @property
    def dataset_checked(self) -> str:
        """The file with the identity of the dataset."""
        return str(self.grid.scale.dataset_file)

    def dataset_of_classes(self, wildcards: Any) -> list[str]:
        """The identity of the dataset, if the classes are read from it."""
        scale = self.grid.scale
        is_own = getattr(wildcards, "at", scale.name) == scale.name
        return [self.dataset_checked] if is_own and scale.dataset.classes == "annotations" else []

    @property
    def stuff_maps_checked(self) -> str:
        """The file of the check of the maps of stuff and things."""
        return str(DATASETS / f"{self.grid.scale.name}_stuff_maps.json")

    @property
    def gpus_checked(self) -> str:
        """The file of the check of GPUs."""
        return str(CHECKS / f"{self.grid.scale.name}_{self.grid.scale.resources.gpus}_gpus.json")

    @property
    def disk_checked(self) -> str:
        """The file of the check of disk space."""
        return str(CHECKS / f"{self.grid.scale.name}_disk.json")

    @property
    def checks(self) -> list[str]:
        """The files of all checks."""
        return [self.gpus_checked, self.disk_checked]

    def gpus_to_check(self, _wildcards: object, input: object) -> int:
        """Number of GPUs to check. The unused `input` argument keeps Snakemake from tracking this value (snakemake#3895)."""
        resources = self.grid.scale.resources
        return resources.gpus if resources.check_gpus else 0

    def configuration_json(self, _wildcards: object, input: object) -> str:
        """The configuration as JSON; untracked, see `gpus_to_check`."""
        return self.grid.configuration.model_dump_json()

    # Reports.

    @property
    def unknown_reports(self) -> str:
        """Regular expression of names below ``reports/`` that belong to no table."""
        names = "|".join(map(re.escape, self.grid.tables))
        figures = "|".join((*FIGURE_NAMES, "flops", "latency", "examples"))
        known = rf"index|(?:{names})|data/(?:{names})(?:_history|_runs|_gains|_classes)?|figures/(?:{names})_(?:{figures})"
        return rf"(?!(?:{known})\.)[^.]+"

    def no_such_report(self, wildcards: Any) -> str:
        """Refuse a file of ``reports/`` that no table makes.

        Raises
        ------
        SystemExit
            With one sentence that names the nearest reports first.
        """
        tables = list(self.grid.tables)
        nearest = get_close_matches(Path(wildcards.unknown).name, tables, 3, 0.5)
        named = [*nearest, *(name for name in tables if name not in nearest)][:NAMED_REPORTS]
        others = f" and {len(tables) - len(named)} more" if len(tables) > len(named) else ""
        raise SystemExit(
            f"error: reports/{wildcards.unknown}.{wildcards.format}: {', '.join(self.grid.configuration.studies)} have no such"
            f" report; there are: {', '.join(named)}{others}; --config studies=… reads other studies"
        )

    def metrics_of_table(self, wildcards: Any) -> list[str]:
        """Metrics files of a table: of all its runs, or of the finished ones if none is trained for it."""
        trains = self.trains(wildcards.report)
        return self._metrics(wildcards.report) if trains else self._existing_metrics(wildcards.report)

    def metrics_of_figures(self, wildcards: Any) -> list[str]:
        """Metrics files that a figure needs although its table would do without them."""
        return [] if self.grid.table(wildcards.report).is_trained_for_itself else self._metrics(wildcards.report)

    def dataset_of_table(self, wildcards: Any) -> list[str]:
        """The identity of the dataset, if there are metrics that must come from it."""
        return [self.dataset_checked] if self.metrics_of_table(wildcards) else []

    def state_of_runs(self, wildcards: Any) -> str:
        """Hash of a table's inputs; as a parameter it collects again when a file is gone or a run has become stale."""
        metrics = self.metrics_of_table(wildcards)
        is_kept = self.grid.configuration.train == "none"
        stale = [run.id for run in self.grid.runs_of(wildcards.report) if self.state_of(run.id) == "stale"] if is_kept else []
        return hashlib.sha256(json.dumps([metrics, stale, self.server_results(wildcards)]).encode()).hexdigest()[:12]

    def _metrics(self, report: str) -> list[str]:
        if self.grid.configuration.train == "none":
            return self._existing_metrics(report)
        return list(dict.fromkeys(str(run.metrics_file) for run in self.grid.runs_of(report)))

    def _existing_metrics(self, report: str) -> list[str]:
        files = dict.fromkeys(run.metrics_file for run in self.grid.runs_of(report))
        return [str(file) for file in files if file.exists()]

    def counts_of_table(self, wildcards: Any) -> list[str]:
        """The file of counts of a table about cost, always at a paper's scale."""
        return self._costs_of_table(wildcards.report, "")

    def speeds_of_table(self, wildcards: Any) -> list[str]:
        """The file of speeds of a table about cost, always at a paper's scale."""
        return self._costs_of_table(wildcards.report, "_speed")

    def _costs_of_table(self, report: str, part: str) -> list[str]:
        if report not in self.grid.reports_on_cost:
            return []
        return [str(COMPLEXITY / cost_scale(self.grid.table(report)) / f"{report}{part}.json")]

    def server_results(self, wildcards: Any) -> list[str]:
        """The evaluation server's results of a report's runs, if the table has columns for them."""
        if not any(metric in TEST_ACCURACY for metric in self.grid.table(wildcards.report).columns):
            return []
        files = dict.fromkeys(answer_file(run.id) for run in self.grid.runs_of(wildcards.report))
        return [str(file) for file in files if file.exists()]

    def settings_json(self, wildcards: Any) -> str:
        """The settings of a report's rows as a JSON list."""
        return json.dumps([setting.model_dump() for setting in self.grid.table(wildcards.report).settings])

    def fingerprint_of(self, *programs: str) -> str:
        """Fingerprint of programs; as a parameter it reruns their rule when a source changes.

        Parameters
        ----------
        *programs : str
            Their files.
        """
        return program_fingerprint(programs)

    def cost_fingerprint(self, wildcards: Any) -> str:
        """Fingerprint of the sources that decide the cost of a report's rows."""
        runs = self.grid.runs_of(wildcards.report)
        models = sorted({model for run in runs for model in run.models})
        tasks = sorted({str(task_file(run.task)) for run in runs})
        return program_fingerprint(("experiments/cost/complexity.py", "experiments/cost/speed.py", *tasks), models)

    def study_of(self, wildcards: Any) -> str:
        """Name of a report's study."""
        return self.grid.tables[wildcards.report][0].name

    def chosen_rows(self, _wildcards: object) -> str:
        """The option that restricts a report to some rows; empty for all."""
        rows = self.grid.configuration.rows
        return "" if rows is None else shlex.join(["--rows", *rows])

    def study_file(self, wildcards: Any) -> str:
        """File of a report's study."""
        return str(STUDIES / f"{self.study_of(wildcards)}.yaml")

    def table_of(self, wildcards: Any) -> str:
        """Key of a report's table in its study."""
        return self.grid.tables[wildcards.report][1]
