"""What a run tells of itself while it is trained: who trains it, how far it is, why it ended."""

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

LOCK = "lock"
PROGRESS = "progress.json"
# Names the call of Snakemake that a training belongs to, whatever machine it runs on.
INVOCATION = "FEATURE_PYRAMIDS_INVOCATION"


def write_progress(folder: Path, **news: Any) -> None:
    """Bring ``progress.json`` of a run up to date; what is not told anew stays.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>/``.
    **news
        state ('running', 'failed', 'preempted' or 'done'), epoch and iteration (done), max_epochs, max_iterations,
        seconds_per_iteration, seconds_left, loss, metrics (of the last validation), reason (of a failure).
    """
    with one_at_a_time(folder):
        _write(folder, news)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run alone; wait while another process trains it, such as one whose Snakemake was killed.

    The lock is the kernel's and ends with the process that holds it, however that ends. Of a training with several processes
    the first holds it, the others wait until it does. On a file system without locks a run is trained without.

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
        write_progress(folder, state="running", reason=None)
        yield


def raise_if_failed_for_good(folder: Path) -> None:
    """Spare the retries of a training that is certain to end as it did before; another call of Snakemake tries again.

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
        return  # the first of the processes says it, and the others end with it
    told, invocation = read_json(folder / PROGRESS), os.environ.get(INVOCATION)
    if invocation and told.get("state") == "failed" and told.get("certain_in") == invocation:
        raise UserError(f"{told.get('reason')}; not tried again, because it would end alike")


def record_exit(folder: Path, state: str, reason: str, is_certain: bool = False) -> bool:
    """Leave word of how a process ended, unless another of the same training has: what it saw came first.

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
        Whether this word is the first.
    """
    with one_at_a_time(folder):
        if read_json(folder / PROGRESS).get("state") != "running":
            return False
        certain_in = os.environ.get(INVOCATION) if is_certain else None
        try:
            _write(folder, {"state": state, "reason": reason, "certain_in": certain_in})
        except OSError as error:
            print(f"{folder}: {error.strerror}; no word of the end could be left there", file=sys.stderr)
        return True


def _write(folder: Path, news: dict[str, Any]) -> None:
    path = folder / PROGRESS
    write_atomically(path, {**read_json(path), **_this_process(), **news})


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "updated": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
