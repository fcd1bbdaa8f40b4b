"""What a run leaves in its ``metrics.json``: its type, and the one way to write and to read it."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from experiments.errors import UserError, first_problem
from experiments.files import write_atomically
from experiments.spec.dataset_identity import DatasetIdentity

SOURCES = b'"sources": {'
BEGINNING = 64
# A number, not its text.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Provenance(BaseModel):
    """Where a run's numbers come from. Older records lack any field but `versions`.

    Attributes
    ----------
    date : str or None
        Time at which the run ended, ISO 8601.
    seconds, training_seconds, seconds_per_iteration : float or None
        Time of the last process; time of all trainings; mean time of an iteration, over all processes that shared the training.
        While a process is stopped, no time counts; records of older versions counted it.
    resumed_from : str or None
        Name of the checkpoint that the last process went on from.
    effective_batch, learning_rate : float or None
        Global batch size, and the learning rate at which it was trained.
    peak_memory_gib : float or None
        Most memory that the last process held, in GiB.
    checkpoint : str or None
        SHA-256 of the last checkpoint.
    commit, clean : str or None, bool or None
        The project's git commit, and whether its files were as committed.
    sources : dict or None
        Path and fingerprint of every source that decides the result.
    hardware, versions : dict
        The machine; name and version of every installed package.
    """

    model_config = ConfigDict(extra="allow")

    date: str | None = None
    seconds: float | None = None
    training_seconds: float | None = None
    seconds_per_iteration: float | None = None
    resumed_from: str | None = None
    threads: int | None = None
    effective_batch: float | None = None
    learning_rate: float | None = None
    seed: int | None = None
    peak_memory_gib: float | None = None
    checkpoint: str | None = None
    commit: str | None = None
    clean: bool | None = None
    sources: dict[str, str] | None = None
    hardware: dict[str, Any] = {}
    versions: dict[str, str] = {}

    @property
    def whole_seconds(self) -> float | None:
        """Time of the whole run; of one that was resumed, that of all its trainings, or more if the last process took it."""
        known = [self.seconds, self.training_seconds if self.resumed_from else None]
        return max((seconds for seconds in known if seconds is not None), default=None)


class RunMetrics(BaseModel):
    """The content of ``metrics.json``.

    Attributes
    ----------
    run : str
        The run's id.
    spec : dict
        Everything that decides the result, as plain data.
    metrics : dict
        Name of each metric to its value; None where the dataset has no object of a size.
    classes : dict
        Class to metric to value; None where the class has no object.
    files : dict
        Name of each file that the run has left beside this one to its SHA-256.
    history : list of dict
        The course of the losses: iteration, and the mean of each loss since the point before.
    validations : list of dict
        Epoch, and the metrics (percent) of each validation during training.
    parameters : int or None
        Parameters of the model.
    dataset : DatasetIdentity or None
        The dataset; None in records of before it was kept.
    provenance : Provenance
        Origin of the numbers; older files call it ``made``.
    """

    model_config = ConfigDict(extra="allow")

    run: str
    spec: dict[str, Any] = {}
    metrics: dict[str, Number | None]
    classes: dict[str, dict[str, Number | None]] = {}
    files: dict[str, str] = {}
    history: list[dict[str, Number]] = []
    validations: list[dict[str, Number]] = []
    parameters: int | None = None
    dataset: DatasetIdentity | None = None
    provenance: Provenance = Field(Provenance(), validation_alias=AliasChoices("provenance", "made"))


def write_metrics(path: Path, metrics: RunMetrics) -> None:
    """Write a run's metrics.

    Parameters
    ----------
    path : Path
        The run's ``metrics.json``.
    metrics : RunMetrics
        Its content.
    """
    content = metrics.model_dump()
    write_atomically(path, content | ({"dataset": metrics.dataset.plain} if metrics.dataset else {}))


def read_metrics(path: Path) -> RunMetrics | None:
    """Read a run's metrics; None if the run has not finished.

    Parameters
    ----------
    path : Path
        The run's ``metrics.json``.

    Raises
    ------
    UserError
        If the file is damaged, or of another run than its folder.
    """
    try:
        metrics = RunMetrics.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {first_problem(error)}; delete it and its run is measured again") from None
    if not metrics.metrics:
        raise UserError(f"{path} is damaged: metrics: there are none; delete it and its run is measured again")
    if metrics.run != path.parent.name:
        raise UserError(f"{path} is of run {metrics.run}, not of its folder's; move it back, or delete it")
    return metrics


def may_be_read(path: Path) -> bool:
    """Whether a metrics file begins as one of its folder's run does; enough to tell most damaged ones, in no time.

    Parameters
    ----------
    path : Path
        A ``metrics.json`` that exists.
    """
    with path.open("rb") as file:
        return f'"run": "{path.parent.name}"'.encode() in file.read(BEGINNING)


def recorded_sources(path: Path) -> dict[str, str] | None:
    """Path and hash of a run's recorded sources; None if it recorded none.

    Reads only that part of the file: parsing 10,000 whole files would dominate a dry run.

    Parameters
    ----------
    path : Path
        A ``metrics.json``.
    """
    content = path.read_bytes()
    start = content.rfind(SOURCES)
    if start < 0:
        return None
    end = content.find(b"}", start)
    try:
        return dict(json.loads(content[start + len(SOURCES) - 1 : end + 1]))
    except ValueError:
        return None  # damaged: `read_metrics` reports it
