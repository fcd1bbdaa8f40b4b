"""Files of costs: counts and speeds of models, keyed by setting."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.errors import UserError
from experiments.files import write_atomically

Costs = TypeVar("Costs", bound=BaseModel)


class Counts(BaseModel):
    """What `experiments.cost.complexity` has counted.

    Attributes
    ----------
    counts : dict
        `Setting.key` to each metric of cost and its value.
    """

    model_config = ConfigDict(extra="forbid")

    counts: dict[str, dict[str, float]]


class Speeds(BaseModel):
    """What `experiments.cost.speed` has measured.

    Attributes
    ----------
    frames_per_second : dict
        `Setting.key` to frames per second.
    machine : str
        The machine and its software.
    image : list of int
        Height and width in pixels.
    repetitions : int
        Repetitions of each measurement.
    """

    model_config = ConfigDict(extra="forbid")

    frames_per_second: dict[str, float]
    machine: str
    image: list[int]
    repetitions: int


def write_costs(path: Path, costs: Counts | Speeds) -> None:
    """Write a file of costs.

    Parameters
    ----------
    path : Path
        The file.
    costs : Counts or Speeds
        Its content.
    """
    write_atomically(path, costs.model_dump())


def read_counts(path: Path) -> Counts:
    """Read a file of counts.

    Parameters
    ----------
    path : Path
        Written by `write_costs`.

    Raises
    ------
    UserError
        If it is damaged or of an older version.
    """
    return _read(path, Counts)


def read_speeds(path: Path) -> Speeds:
    """Read a file of speeds.

    Parameters
    ----------
    path : Path
        Written by `write_costs`.

    Raises
    ------
    UserError
        If it is damaged or of an older version.
    """
    return _read(path, Speeds)


def _read(path: Path, model: type[Costs]) -> Costs:
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{path} is damaged or of an older version ({reason}): delete it and it is made again") from None
