"""The state of a run while it is trained: its lock, its progress, and how it ended."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.files import read_json, write_atomically
from experiments.records.locks import one_at_a_time, wait_for_lock
from experiments.records.progress_file import NAME as PROGRESS
from experiments.records.progress_file import Ended, Progress, read_progress

LOCK = "lock"
# Environment variable with the id of the Snakemake call that a training belongs to, on any machine.
INVOCATION = "FEATURE_PYRAMIDS_INVOCATION"


def write_progress(folder: Path, updates: Progress) -> None:
    """Bring ``progress.json`` of a run up to date.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>/``.
    updates : Progress
        New values; fields that are not set keep their previous values.
    """
    with one_at_a_time(folder):
        _write(folder, updates)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run; wait while another process trains it, such as one whose Snakemake was killed.

    The kernel releases the lock when its process ends, however it ends. Rank 0 takes the lock; the other ranks wait until it
    has. On a file system without locks the run is trained without one.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>/``.
    """
    path, launch = folder / LOCK, os.environ.get("TORCHELASTIC_RUN_ID")
    if int(os.environ.get("RANK", 0)) > 0:
        while read_json(path).get("launch") != launch:
            time.sleep(0.1)
        yield
        return
    with path.open("a+", encoding="utf-8") as file:
        wait_for_lock(file, path)
        file.truncate(0)
        file.write(json.dumps({**_this_process(), "launch": launch}))
        file.flush()
        write_progress(folder, Progress(state="running", reason=None))
        yield


def raise_if_failed_for_good(folder: Path) -> None:
    """Refuse to retry a training that is certain to fail again; another call of Snakemake tries again.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>/``.

    Raises
    ------
    UserError
        If it has failed for certain within the same call of Snakemake.
    """
    if int(os.environ.get("RANK", 0)) > 0:
        return  # rank 0 reports the failure and ends the other ranks
    progress, invocation = _read(folder), os.environ.get(INVOCATION)
    if invocation and progress.state == "failed" and progress.permanent_failure_of == invocation:
        raise UserError(f"{progress.reason}; not tried again, because it would end alike")


def record_exit(folder: Path, state: Ended, reason: str, is_certain: bool = False) -> bool:
    """Record how a training ended. Of several processes the first to report wins.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>/``.
    state : {'failed', 'preempted'}
        How.
    reason : str
        Why, in one sentence.
    is_certain : bool
        Whether it would end alike if it were tried again as it is.

    Returns
    -------
    bool
        Whether this report is the first.
    """
    with one_at_a_time(folder):
        if _read(folder).state != "running":
            return False
        call = os.environ.get(INVOCATION) if is_certain else None
        try:
            _write(folder, Progress(state=state, reason=reason, permanent_failure_of=call))
        except OSError as error:
            print(f"{folder}: {error.strerror}; how the training ended could not be recorded there", file=sys.stderr)
        return True


def _read(folder: Path) -> Progress:
    """The progress; empty if it is missing or damaged: a training goes on from its checkpoint, whatever it told before."""
    try:
        return read_progress(folder / PROGRESS)
    except (OSError, UserError):
        return Progress()


def _write(folder: Path, updates: Progress) -> None:
    merged = _read(folder).model_dump() | _this_process() | updates.model_dump(exclude_unset=True)
    # A key appears with its value: whoever waits for the first iteration waits for the key.
    write_atomically(folder / PROGRESS, {key: value for key, value in merged.items() if value is not None})


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "updated": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
