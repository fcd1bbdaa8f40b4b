"""What a run tells of itself in its ``progress.json``: its type, and how it is read."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from experiments.errors import UserError, first_problem

NAME = "progress.json"
Ended = Literal["failed", "preempted"]


class Progress(BaseModel):
    """The content of ``progress.json``. Every field is missing until it is known.

    Attributes
    ----------
    state : {'running', 'failed', 'preempted', 'done'} or None
        State last reported by the training process; a killed process reports none.
    reason : str or None
        Why it failed or was preempted, in one sentence.
    permanent_failure_of : str or None
        Call of Snakemake whose retries would end alike.
    epoch, max_epochs, iteration, max_iterations : int or None
        Finished epochs and iterations, and their totals.
    seconds_per_iteration, seconds_left : float or None
        Mean so far, and what is left at this pace.
    loss : float or None
        The last one.
    metrics : dict or None
        Metrics of the last validation.
    host, process, slurm_job : str, int, str or None
        Host, process id and Slurm job of the latest process.
    updated : str or None
        Time of the last update, ISO 8601.
    """

    model_config = ConfigDict(extra="ignore")

    state: Literal["running", "failed", "preempted", "done"] | None = None
    reason: str | None = None
    permanent_failure_of: str | None = None
    epoch: int | None = None
    max_epochs: int | None = None
    iteration: int | None = None
    max_iterations: int | None = None
    seconds_per_iteration: FiniteFloat | None = None
    seconds_left: FiniteFloat | None = None
    loss: float | None = None
    metrics: dict[str, float] | None = None
    host: str | None = None
    process: int | None = None
    slurm_job: str | None = None
    updated: str | None = None


def read_progress(path: Path) -> Progress:
    """Read a run's progress.

    Parameters
    ----------
    path : Path
        The run's ``progress.json``.

    Raises
    ------
    UserError
        If the file is damaged.
    FileNotFoundError
        If there is none.
    """
    try:
        return Progress.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {first_problem(error)}") from None
