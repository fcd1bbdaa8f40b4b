"""The file that a user edits: studies, scale, seeds, where the data lie."""

from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from experiments.errors import UserError
from experiments.paths import CONFIGURATION
from experiments.spec.yaml_models import StrictModel


class Configuration(StrictModel):
    """The file that a user edits, ``experiments/config.yaml``.

    Attributes
    ----------
    train : {'missing', 'none'}
        Whether tables train what is missing or are made from what exists.
    """

    studies: list[str] = Field(min_length=1)
    scale: str
    seeds: list[int] = Field(min_length=1)
    data_root: str | None = None
    train: Literal["missing", "none"] = "missing"

    @field_validator("studies", "seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("studies", "seeds")
    @classmethod
    def _no_duplicates(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) < len(value):
            raise ValueError(f"names one twice: {', '.join(map(str, value))}")
        return value


def read_configuration(overrides: list[str]) -> dict[str, Any]:
    """The content of ``experiments/config.yaml``, with overrides.

    Parameters
    ----------
    overrides : list of str
        ``key=value`` each, as after ``snakemake --config``.

    Raises
    ------
    UserError
        If the file is missing or no YAML, or an override is wrong.
    """
    try:
        configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{CONFIGURATION} does not exist: run this in the project's folder") from None
    except yaml.YAMLError as error:
        raise UserError(f"{CONFIGURATION}: {error}".replace("\n", " ")) from None
    if not isinstance(configuration, dict):
        raise UserError(f"{CONFIGURATION}: expected keys and values")
    return configuration | dict(_parse(override) for override in overrides)


def _parse(override: str) -> tuple[str, Any]:
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise UserError(f"--config {override}: expected key=value, such as scale=coco")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--config {override}: the value is not YAML") from None
