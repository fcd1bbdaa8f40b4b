"""The status of runs, read from their metrics, progress and locks without disturbing a training."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from experiments.errors import UserError
from experiments.paths import RUNS
from experiments.records.locks import is_locked
from experiments.records.metrics_file import may_be_read, read_metrics
from experiments.records.progress_file import NAME as PROGRESS
from experiments.records.progress_file import Progress, read_progress
from experiments.records.run_state import LOCK
from experiments.spec.run import Run

Content = TypeVar("Content")
State = Literal["running", "failed", "interrupted", "done", "queued"]
STATES: tuple[State, ...] = ("running", "failed", "interrupted", "done", "queued")
# Without file locks, a run counts as running only if its progress file, rewritten each 30 seconds, is younger than this.
FRESH_SECONDS = 300
DAMAGED = Progress(state="failed", reason="its metrics.json cannot be used: see below")


class RunReader:
    """Reads the files of runs and collects one sentence about each damaged file."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, read: Callable[[Path], Content], path: Path) -> Content | None:
        """The content of a file; None if it is missing or damaged.

        Parameters
        ----------
        read : callable
            Reads the file, and raises a `UserError` if it is damaged.
        path : Path
            The file.
        """
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except UserError as error:
            self._tell(str(error))
        except OSError as error:
            self._tell(f"{path} cannot be read: {error.strerror}")
        return None

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def status_of(self, run: Run) -> "RunStatus":
        """How far a run is.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        if run.metrics_file.exists():
            is_right = self.read(may_be_read, run.metrics_file) or self.read(read_metrics, run.metrics_file)
            return RunStatus(run, "done", self) if is_right else RunStatus(run, "failed", self, DAMAGED)
        progress_file = run.folder / PROGRESS
        progress = self.read(read_progress, progress_file)
        if _is_training(run.folder / LOCK, progress, progress_file):
            return RunStatus(run, "running", self, progress)
        if progress is None:
            return RunStatus(run, "interrupted" if progress_file.exists() else "queued", self)
        return RunStatus(run, "failed" if progress.state == "failed" else "interrupted", self, progress)

    def statuses(self, runs: Iterable[Run]) -> list["RunStatus"]:
        """The statuses of runs; runs without a folder cost no file access.

        Parameters
        ----------
        runs : iterable of Run
            Runs of the grid.
        """
        begun = {path.name for path in RUNS.iterdir()} if RUNS.is_dir() else set()
        return [self.status_of(run) if run.id in begun else RunStatus(run, "queued", self) for run in runs]


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes
    ----------
    state : str
        done: it has metrics. running: a process trains it. failed: it ended with a reason. interrupted: it was killed or
        preempted, and goes on when Snakemake is called again. queued: nothing of it has run.
    records : RunReader
        Reads its metrics when they are asked for.
    progress : Progress or None
        The training's progress, if it has reported any.
    """

    run: Run
    state: State
    records: RunReader
    progress: Progress | None = None

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """The metrics of the run's test, or else of its last validation."""
        if self.state == "done":
            found = self.records.read(read_metrics, self.run.metrics_file)
            return found.metrics if found else {}
        return dict((self.progress and self.progress.metrics) or {})


def number(value: Any) -> float | None:
    """The value where it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _is_training(lock: Path, progress: Progress | None, progress_file: Path) -> bool:
    locked = is_locked(lock)
    if locked is None:
        return progress is not None and progress.state == "running" and _age(progress_file) < FRESH_SECONDS
    return locked


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf
