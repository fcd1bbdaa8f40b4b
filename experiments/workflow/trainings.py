"""Trainings: what each waits for, when it is made again, and what it is called."""

import hashlib
import inspect
import shlex
from collections.abc import Callable
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Literal, TypeVar

from experiments.errors import UserError
from experiments.paths import CHECKS, REPORTS, RUN_ID, backbone_file, metrics_file, run_folder
from experiments.records.checked_necks import passed_file
from experiments.records.metrics_file import recorded_sources
from experiments.records.recorded_times import RecordedTimes, duration
from experiments.records.run_status import RunReader
from experiments.records.stale_runs import is_stale
from experiments.spec.run import Run
from experiments.workflow.asked import Asked, if_few
from experiments.workflow.grid import Grid, rows_in_words
from experiments.workflow.prerequisites import Prerequisites
from experiments.workflow.resources import resources_in_words

Function = TypeVar("Function", bound=Callable)


def _with_cached_signature(function: Function) -> Function:
    """Cache a function's signature, which Snakemake inspects several times for each job."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


class Trainings:
    """Input functions and parameters of the rules of a run.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration.
    asked : Asked
        What the user asked for.
    prerequisites : Prerequisites
        What trainings wait for.
    force : callable
        Tells Snakemake to make a file again though it exists.
    """

    def __init__(self, grid: Grid, asked: Asked, prerequisites: Prerequisites, force: Callable[[str], object]) -> None:
        self.grid = grid
        self._asked = asked
        self._prerequisites = prerequisites
        self._force = force

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

    @cache  # noqa: B019 - there is one object of this class, and it lives as long as its process
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
        return [self._prerequisites.dataset_checked]

    def _refuse_masks_of_another_kind(self, run: Run) -> None:
        """Refuse masks that a run cannot learn from, where the dataset was checked for other runs."""
        file, checks = self._prerequisites.dataset_checked, self._prerequisites.checks_of_splits
        without = sum(check.without_mask for check in checks.values())
        encoded = checks["train"].encoded_masks if "train" in checks else 0
        if without and self.grid.learns_masks(run):
            raise SystemExit(
                f"error: {file}: {without} objects have no mask, which run {run.id} learns from; add masks and"
                " delete this file, or ask for detectors without masks"
            )
        if encoded and self.grid.learns_polygons(run):
            raise SystemExit(
                f"error: {file}: {encoded} objects have masks in RLE, and run {run.id} keeps polygons alone;"
                f" write polygons and delete this file, or let schedule {run.setting.schedule} say polygons: false"
            )

    def _was_collected(self, run: str) -> bool:
        """Whether a table was made that shows a run."""
        return any(report in self._collected for report, _ in self._rows.get(run, ()))

    @cached_property
    def _collected(self) -> set[str]:
        return {path.stem for path in (REPORTS / "data").glob("*.csv")}

    @_with_cached_signature
    def stuff_maps(self, wildcards: Any) -> list[str]:
        """The check of the maps of stuff and things, if a run trains on them."""
        needed = self.grid.trains_on_stuff_maps(self.run(wildcards.run)) and self.state_of(wildcards.run) != "done"
        return [self._prerequisites.stuff_maps_checked] if needed else []

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
        return [run for run in self._asked.runs() if self.state_of(run) != "done"]

    def runs_to_check(self, _wildcards: object, input: object) -> list[str]:
        """Ids of the requested runs that will be trained; empty, meaning all, if they do not fit into a command line."""
        return if_few(self._runs_to_train)

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
