"""The grid: every table, row and run that the configuration asks for, computed without importing torch."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from experiments.errors import UserError
from experiments.run import Run
from experiments.scale import Scale, load_scale
from experiments.sources import source_files
from experiments.strict_yaml import StrictModel, validate
from experiments.study import Row, Study, Table, load_study

PAPER_SCALE = "coco"


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
    train: str = "missing"

    @field_validator("studies", "seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("train")
    @classmethod
    def _known_mode(cls, value: str) -> str:
        if value not in ("missing", "none"):
            raise ValueError(f"is {value!r}; allowed: missing, none")
        return value


class Grid:
    """What a configuration asks for.

    Parameters
    ----------
    configuration : dict
        Keys and values of `Configuration`.

    Raises
    ------
    UserError
        If the configuration, a study or the scale is wrong, or nothing can be written here.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        if not os.access(".", os.W_OK):
            raise UserError(f"no permission to write {Path.cwd()}: change its owner or mode, or run from another folder")
        self.configuration = validate(dict(configuration), Configuration, "experiments/config.yaml")
        self.scale: Scale = load_scale(self.configuration.scale)
        self.studies: list[Study] = [load_study(name) for name in self.configuration.studies]
        if self.scale.dataset.kind == "coco" and self.configuration.data_root is None:
            raise UserError(f"experiments/config.yaml: data_root: scale {self.scale.name} needs the folder of its dataset")

    @cached_property
    def tables(self) -> dict[str, tuple[Study, str]]:
        """Report name to (study, key of the table)."""
        return {study.report(key): (study, key) for study in self.studies for key in study.tables}

    @cached_property
    def runs(self) -> dict[str, Run]:
        """All runs by id, each once."""
        return {run.id: run for report in self.tables for run in self.runs_of(report)}

    def table(self, report: str) -> Table:
        """The table behind a report name."""
        study, key = self.tables[report]
        return study.tables[key]

    def runs_of_row(self, row: Row) -> list[Run]:
        """One run per seed."""
        return [Run(row.setting, self.scale, seed) for seed in self.configuration.seeds]

    def runs_of(self, report: str) -> list[Run]:
        """The runs that a table's rows ask for."""
        return [run for row in self.table(report).rows for run in self.runs_of_row(row)]

    def metrics_files(self, report: str) -> list[str]:
        """Files that a table is made from: of all its runs, or only of those that exist where nothing may be trained."""
        files = dict.fromkeys(str(run.metrics_file) for run in self.runs_of(report))
        return [file for file in files if self.configuration.train == "missing" or Path(file).exists()]

    def sources(self, run: str) -> list[str]:
        """The project's own source files that decide a run's result."""
        return source_files(self.runs[run].setting.neck["type"])
