"""The file that a user edits: studies, scale, seeds, where the data lie."""

import json
import os
import re
import subprocess
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from experiments.environments import snakemake_python
from experiments.errors import UserError
from experiments.paths import CONFIGURATION
from experiments.spec.yaml_models import NAME_CHARACTER, StrictModel, load_yaml, not_text

# Prints Snakemake's own reading of the entries after ``--config``, a date as text.
PARSER = "import json, sys; from snakemake.cli import parse_config; print(json.dumps(parse_config(sys.argv[1:]), default=str))"
# numpy takes no others.
SEEDS = 2**32


def _is_file_name(name: str) -> str:
    if not re.fullmatch(f"{NAME_CHARACTER}+", name):
        raise ValueError(f"is {name!r}; allowed: a name, not a path: letters, digits, _ and -")
    return name


FileName = Annotated[str, AfterValidator(_is_file_name)]


class Configuration(StrictModel):
    """The file that a user edits, ``experiments/config.yaml``.

    Attributes
    ----------
    train : {'missing', 'none'}
        Whether tables train what is missing or are made from what exists.
    rows : list of str or None
        Names of the rows that tables are restricted to; None takes all.
    """

    studies: list[FileName] = Field(min_length=1)
    scale: FileName
    seeds: list[int] = Field(min_length=1)
    data_root: str | None = None
    train: Literal["missing", "none"] = "missing"
    rows: list[str] | None = Field(None, min_length=1)

    @field_validator("studies", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("rows", mode="before")
    @classmethod
    def _are_text(cls, value: Any) -> Any:
        rows = value if isinstance(value, list) or value is None else [value]
        for row in rows or []:
            if not isinstance(row, str):
                raise ValueError(f"one is {not_text(row)}")
        return rows

    @field_validator("seeds", mode="before")
    @classmethod
    def _are_whole_numbers(cls, value: Any) -> Any:
        seeds = value if isinstance(value, list) else [value]
        for seed in seeds:
            # On the command line, the entries of a list are text.
            is_whole = type(seed) is int or (isinstance(seed, str) and re.fullmatch("0|[1-9][0-9]*", seed))
            if not is_whole or not 0 <= int(seed) < SEEDS:
                raise ValueError(f"one is {seed!r}; allowed: whole numbers from 0 to {SEEDS - 1}")
        return seeds

    @field_validator("data_root")
    @classmethod
    def _expand_home(cls, value: str | None) -> str | None:
        return value and os.path.expanduser(value)

    @field_validator("studies", "seeds", "rows")
    @classmethod
    def _no_duplicates(cls, value: list[Any] | None) -> list[Any] | None:
        if value and len(set(value)) < len(value):
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
    return read_configuration_file() | _parse(overrides)


def read_configuration_file() -> dict[str, Any]:
    """The content of ``experiments/config.yaml`` alone. Snakemake reads it too, and takes the last of two equal keys.

    Raises
    ------
    UserError
        If the file is missing, no YAML, or has a key twice.
    """
    if not CONFIGURATION.exists():
        raise UserError(f"{CONFIGURATION} does not exist: run this in the project's folder")
    return load_yaml(CONFIGURATION)


def _parse(overrides: list[str]) -> dict[str, Any]:
    """What Snakemake makes of ``--config``, asked of itself, as it has an environment of its own."""
    if not overrides:
        return {}
    asked = [str(snakemake_python()), "-c", PARSER, *overrides]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"--config {' '.join(overrides)}: expected key=value, such as scale=coco ({reason})")
    parsed: dict[str, Any] = json.loads(answer.stdout)
    return parsed
