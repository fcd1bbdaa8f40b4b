"""What runs have left so far: metrics, progress and the lock, read without disturbing a training."""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from experiments.paths import RUNS
from experiments.records.locks import is_locked
from experiments.records.run_state import LOCK, PROGRESS
from experiments.spec.run import Run

State = Literal["running", "failed", "interrupted", "done", "queued"]
STATES: tuple[State, ...] = ("running", "failed", "interrupted", "done", "queued")
# Trainings rewrite their progress at least each 30 seconds; where locks cannot be asked, older progress is of the past.
FRESH_SECONDS = 300


class RunReader:
    """Reads the records of runs, and keeps a sentence about each that is damaged."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, path: Path) -> dict[str, Any]:
        """Content of a JSON file; empty where there is none or it cannot be read.

        Parameters
        ----------
        path : Path
            The file.
        """
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self._damaged(f"{path} cannot be read: {error.strerror}")
        except ValueError as error:
            return self._damaged(f"{path} is damaged: {error}")
        return content if isinstance(content, dict) else self._damaged(f"{path} is damaged: expected keys and values")

    def _damaged(self, sentence: str) -> dict[str, Any]:
        self.problems.append(sentence)
        return {}

    def status_of(self, run: Run) -> "RunStatus":
        """How far a run is.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        if run.metrics_file.exists():
            return RunStatus(run, "done", self)
        progress_file = run.folder / PROGRESS
        progress = self.read(progress_file)
        if _is_training(run.folder / LOCK, progress, progress_file):
            return RunStatus(run, "running", self, progress)
        if not progress:
            return RunStatus(run, "interrupted" if progress_file.exists() else "queued", self)
        return RunStatus(run, "failed" if progress.get("state") == "failed" else "interrupted", self, progress)

    def statuses(self, runs: Iterable[Run]) -> list["RunStatus"]:
        """How far runs are; those that have no folder are not looked at one by one.

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
    progress : dict
        Content of ``progress.json``; empty where there is none.
    """

    run: Run
    state: State
    records: RunReader
    progress: dict[str, Any] | None = None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Content of ``metrics.json``; empty where there is none."""
        return self.records.read(self.run.metrics_file) if self.state == "done" else {}

    def number(self, key: str) -> float | None:
        """A number of the progress; None where it is missing or is none.

        Parameters
        ----------
        key : str
            In ``progress.json``.
        """
        return number((self.progress or {}).get(key))


def number(value: Any) -> float | None:
    """The value where it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _is_training(lock: Path, progress: dict[str, Any], progress_file: Path) -> bool:
    locked = is_locked(lock)
    if locked is None:
        return progress.get("state") == "running" and _age(progress_file) < FRESH_SECONDS
    return locked


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf
