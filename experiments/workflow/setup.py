"""Settings that the Snakefile makes once for its own process and for every job."""

import gc
import os
import signal
from uuid import uuid4

from snakemake.settings.types import DAGSettings

from experiments.environments import training_programs
from experiments.records.run_state import INVOCATION

# Copy a program's output to the terminal and to the rule's log.
LOGGED = " 2>&1 | tee {log} >&2"


def prepare_process(is_main: bool) -> None:
    """Configure garbage collection, signals and the id of this Snakemake call.

    Parameters
    ----------
    is_main : bool
        Whether this process plans the jobs, rather than runs one of them.
    """
    if is_main:
        # Disable the garbage collector while the DAG is built: on large grids it takes 20 % of planning and frees nothing.
        gc.disable()
    # Every job inherits this variable, on any machine, so that a retry can be told from a new call.
    os.environ.setdefault(INVOCATION, uuid4().hex)
    # Slurm's warning before a time limit reaches every process of a job step. The training handles it; a Snakemake that died
    # of it would end the training before its checkpoint is written.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def collect_garbage_again() -> None:
    """Re-enable garbage collection when the jobs start, without the objects of the DAG."""
    gc.freeze()
    gc.enable()


def asked_targets(settings: DAGSettings | None) -> frozenset[str]:
    """The requested files and rules of this Snakemake call; empty if none is named.

    Parameters
    ----------
    settings : DAGSettings or None
        Snakemake's settings of its graph. A job that runs in a process of its own has one target, itself.
    """
    if settings is None:
        return frozenset()
    return frozenset(str(target) for target in settings.targets or settings.target_jobs)


def refuse_arrays(executor_settings: object) -> None:
    """Refuse job arrays, with which the Slurm plugin can wait for ever (snakemake-executor-plugin-slurm, issue 473).

    Parameters
    ----------
    executor_settings : object
        The settings of Snakemake's executor; those of the Slurm plugin have `array_jobs`.

    Raises
    ------
    SystemExit
        With one sentence, if it is set.
    """
    if getattr(executor_settings, "array_jobs", None):
        raise SystemExit(
            "error: --slurm-array-jobs: once more runs are ready than `jobs` admits, the Slurm plugin waits for ever; leave it"
            " out, each training is a job of its own"
        )


def shell_prefix() -> str:
    """The start of every shell command: a pipe fails with its program, and rules run in the trainings' environment.

    A prefix replaces Snakemake's own, with which a command fails; without it, a program that fails before ``| tee`` would
    count as done.
    """
    return f'set -euo pipefail; export PATH="{training_programs()}:$PATH"; '
