"""Files of costs: counts and speeds of models, keyed by setting."""

from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

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
        `Setting.key` to frames per second, the median over the rounds.
    rounds : dict
        `Setting.key` to frames per second in each round; the settings were measured one after the other in each. Files of
        older versions have none.
    machine : str
        The machine and its software.
    image : list of int
        Height and width in pixels.
    repetitions : int
        Number of rounds.
    """

    model_config = ConfigDict(extra="forbid")

    frames_per_second: dict[str, float]
    rounds: dict[str, list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]] = {}
    machine: str
    image: list[int]
    repetitions: int

    @model_validator(mode="after")
    def _check_rounds(self) -> Self:
        if any(len(rates) != self.repetitions for rates in self.rounds.values()):
            raise ValueError(f"rounds: allowed are {self.repetitions} for each setting, as repetitions says")
        return self


class Measurement(BaseModel):
    """Training steps that `experiments.cost.probe` has measured of one model.

    Attributes
    ----------
    seconds_per_image : float
        Median over the steps, per image and process.
    steps : list of float
        Seconds of each step.
    model : str
        Neck, detector and backbone.
    batch : int
        Images per process and step.
    image : list of int
        Height and width in pixels.
    machine : str
        The machine and its software.
    date : str
        Day of the measurement, ISO 8601.
    """

    model_config = ConfigDict(extra="forbid")

    seconds_per_image: float = Field(gt=0, allow_inf_nan=False)
    steps: list[float] = []
    model: str = ""
    batch: int | None = None
    image: list[int] = []
    machine: str = "an unknown machine"
    date: str | None = None


class Measurements(RootModel[dict[str, Measurement]]):
    """The file of a scale's probe: `probe_key` to what was measured of a model."""


def write_costs(path: Path, costs: Counts | Speeds | Measurements) -> None:
    """Write a file of costs.

    Parameters
    ----------
    path : Path
        The file.
    costs : Counts, Speeds or Measurements
        Its content.
    """
    write_atomically(path, costs.model_dump())


def read_costs(path: Path, model: type[Costs]) -> Costs:
    """Read a file of costs.

    Parameters
    ----------
    path : Path
        Written by `write_costs`.
    model : type
        `Counts`, `Speeds` or `Measurements`.

    Raises
    ------
    UserError
        If it is damaged or of an older version.
    FileNotFoundError
        If there is none.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{path} is damaged or of an older version ({reason}): delete it and it is made again") from None
