"""A study: a paper's ablation as data, its settings, its tables with their rows, and the published numbers."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from math import isfinite
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from experiments.errors import UserError
from experiments.paths import STUDIES
from experiments.spec.metrics import COMPLEXITY, METRICS
from experiments.spec.setting import Setting, neck_links
from experiments.spec.yaml_models import NAME_CHARACTER, PrintedText, StrictModel, not_text, read_yaml

# Of a part of a file name.
LONGEST_NAME = 80


class Row(StrictModel):
    """One line of a table.

    Attributes
    ----------
    name : list of str
        Entries of the table's `row_header` columns; a single string in the file becomes a list of one.
    setting : Setting or None
        Resolved; in the file, the name of one of the study's settings or a setting written out.
    unavailable : str or None
        Why the row cannot be run here yet; stands in the place of its setting.
    published : dict
        Number of each column as printed, None where there is none; in the file, a list in the order of the columns. Empty
        where nothing was published.
    against : str or None
        Label of the row that this one's gain is over, where it is not the table's `against`.
    source : str or None
        Where the published numbers come from, where that is not the study's paper, such as a model zoo.
    x : dict
        Name and value of the one number that the row varies, such as ``n: 4``; accuracy is then drawn over it.
    """

    name: list[PrintedText]
    setting: Setting | None = None
    unavailable: PrintedText | None = Field(None, min_length=1)
    published: dict[str, Any] = {}
    against: PrintedText | None = None
    source: PrintedText | None = Field(None, min_length=1)
    x: dict[PrintedText, float] = Field({}, max_length=1)

    @field_validator("name", mode="before")
    @classmethod
    def _is_text(cls, name: Any) -> Any:
        for part in name if isinstance(name, list) else [name]:
            if not isinstance(part, str):
                raise ValueError(f"is {not_text(part)}")
            if not part.strip():
                raise ValueError(f"is {part!r}; allowed: text")
        return name

    @field_validator("published")
    @classmethod
    def _are_in_range(cls, published: dict[str, Any]) -> dict[str, Any]:
        for metric, number in published.items():
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
                raise ValueError(f"{metric} is {number!r}; expected a number as printed, or null")
            if metric in METRICS and (fault := METRICS[metric].fault_of_published(number)):
                raise ValueError(f"{metric} is {number!r}; {fault}")
        return published

    @model_validator(mode="after")
    def _setting_or_reason(self) -> Self:
        if (self.setting is None) == (self.unavailable is None):
            raise ValueError(f"row {self.label!r} needs either the key 'setting' or the key 'unavailable' with a reason")
        return self

    @property
    def label(self) -> str:
        """The name in one string, without the dashes of a table's empty cells."""
        return " ".join([part for part in self.name if part != "–"] or self.name)

    @property
    def called(self) -> set[str]:
        """What the row may be called by: its label, or a part of its name."""
        return {self.label, *self.name}


class Table(StrictModel):
    """One table of the paper.

    Attributes
    ----------
    printed_as : str or None
        What the paper calls the table, such as ``Table 4``; stands before the title.
    caption : str or None
        Caption in LaTeX, where it is not the title and the scale.
    against : str or None
        Label of the row that gains are over. None: the first row that can be run, unless rows name their own.
    mixed_settings : bool
        Whether rows may differ in images per step or learning rate, because that is what the table compares.
    columns : dict
        Metric to printed heading, in order.
    row_header : list of str
        Headings of the columns that name the rows.
    compare : (str, str) or None
        Labels of the two rows that the figure of examples shows; by default the last row that has run, and its baseline.
    marks : dict
        Heading to options of a neck: a column with a mark in each row whose neck has these options.
    notes : list of str
        What only this table needs beside the study's notes.
    train_when_alone : bool
        Whether asking for this table alone trains what is missing. By default a table about cost is made from what exists.
    """

    title: PrintedText
    printed_as: PrintedText | None = Field(None, min_length=1)
    caption: PrintedText | None = Field(None, min_length=1)
    against: PrintedText | None = None
    compare: tuple[PrintedText, PrintedText] | None = None
    marks: dict[PrintedText, dict[str, Any]] = {}
    notes: list[PrintedText] = []
    train_when_alone: bool | None = None
    mixed_settings: bool = False
    row_header: list[PrintedText] = ["Neck"]
    columns: dict[str, PrintedText] = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)

    @field_validator("columns")
    @classmethod
    def _metrics_exist(cls, columns: dict[str, str]) -> dict[str, str]:
        for metric in columns:
            if metric not in METRICS:
                raise ValueError(f"unknown metric {metric!r}; allowed: {', '.join(METRICS)}")
        return columns

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        headings = [*self.row_header, *self.marks, *self.columns]
        if twice := next((heading for heading in self.row_header if headings.count(heading) > 1), None):
            raise ValueError(f"row_header names {twice!r}, which another heading or column is called; allowed: each once")
        names: set[tuple[str, ...]] = set()
        for row in self.rows:
            name = tuple(row.name)
            if name in names:
                raise ValueError(f"duplicate row name {' '.join(name)!r}; every row of a table needs its own")
            names.add(name)
            unknown = [metric for metric in row.published if metric not in self.columns]
            if unknown:
                raise ValueError(
                    f"row {' '.join(name)!r} publishes {unknown[0]!r}, which is no column: {', '.join(self.columns)}"
                )
            if len(name) != len(self.row_header):
                raise ValueError(f"row {' '.join(name)!r} has {len(name)} names for the headings {', '.join(self.row_header)}")
        return self

    @model_validator(mode="after")
    def _baselines_exist(self) -> Self:
        count = Counter(row.label for row in self.rows)
        for own, against in [("", self.against), *((row.label, row.against) for row in self.rows)]:
            if against is not None and (count[against] != 1 or against == own):
                place = f"row {own!r}: against" if own else "against"
                others = [label for label, times in count.items() if times == 1 and label != own]
                raise ValueError(f"{place} is {against!r}; allowed: another row, {', '.join(others)}")
        for label in self.compare or ():
            if count[label] != 1:
                raise ValueError(f"compare names {label!r}; allowed: two of {', '.join(count)}")
        return self

    @model_validator(mode="after")
    def _rows_vary_one_number(self) -> Self:
        names = dict.fromkeys(name for row in self.rows for name in row.x)
        if len(names) > 1:
            raise ValueError(f"rows have different names in x: {', '.join(names)}; allowed: one")
        return self

    @property
    def heading(self) -> str:
        """The title after what the paper calls the table."""
        return f"{self.printed_as}. {self.title}" if self.printed_as else self.title

    def published_gain(self, metric: str, row: int, baseline: int | None) -> float | None:
        """Published number of a row minus that of its baseline; None where one was not published.

        Parameters
        ----------
        metric : str
            One of the columns.
        row, baseline : int
            Indices of the rows; None for a row without a baseline.
        """
        if baseline is None:
            return None
        ours, theirs = (self.rows[index].published.get(metric) for index in (row, baseline))
        return None if ours is None or theirs is None else round(float(ours) - float(theirs), 6)

    def marks_of(self, row: Row) -> list[bool]:
        """Whether a row's neck has the options of each of `marks`.

        Parameters
        ----------
        row : Row
            A row of the table.
        """
        links = neck_links(row.setting.neck) if row.setting else []
        return [any(options.items() <= link.items() for link in links) for options in self.marks.values()]

    @property
    def baselines(self) -> list[int | None]:
        """For each row the index of the row that its gain is over; None where there is none."""
        of_all = self.against
        if of_all is None and not any(row.against for row in self.rows):
            of_all = next((row.label for row in self.rows if row.setting), None)
        places: dict[str | None, list[int]] = defaultdict(list)
        for index, row in enumerate(self.rows):
            places[row.label].append(index)
        wanted = [places.get(row.against or of_all, []) for row in self.rows]
        return [next((place for place in found if place != index), None) for index, found in enumerate(wanted)]

    @property
    def settings(self) -> list[Setting]:
        """Settings of the rows that can be run, in their order."""
        return [row.setting for row in self.rows if row.setting]

    @property
    def compares_complexity(self) -> bool:
        """Whether the table is about cost."""
        return any(metric in COMPLEXITY for metric in self.columns)

    @property
    def is_trained_for_itself(self) -> bool:
        """Whether asking for this table alone trains what is missing."""
        return not self.compares_complexity if self.train_when_alone is None else self.train_when_alone

    def only_rows(self, names: Collection[str] | None) -> Self:
        """This table with the rows of some names alone, or all of them.

        Parameters
        ----------
        names : collection of str or None
            Labels of rows, or single parts of their names; None keeps every row.
        """
        if names is None:
            return self
        return self.model_copy(update={"rows": [row for row in self.rows if row.called & set(names)]})

    def refuse_mixed_settings(self, trained: Iterable[tuple[str, float, float | None]]) -> None:
        """Refuse a table whose rows differ in global batch size or learning rate, unless it says so.

        Parameters
        ----------
        trained : iterable of (str, float, float or None)
            Label of a row, images per step of all its processes together, learning rate; None for the detector's own.

        Raises
        ------
        UserError
            If rows differ in these and the table does not say `mixed_settings`.
        """
        labels = {(batch, rate): label for label, batch, rate in reversed(list(trained))}
        if self.mixed_settings or len(labels) < 2:
            return
        one, other = (
            f"{label!r} ({batch:g} images per step, learning rate {rate or 'of its detector'})"
            for (batch, rate), label in list(labels.items())[-2:]
        )
        raise UserError(
            f"rows {other} and {one} are trained differently; train them alike, or let the table say mixed_settings: true"
        )


class Study(StrictModel):
    """One file of ``experiments/studies/``.

    Attributes
    ----------
    report_prefix : str
        Stands before the table's key in the names of its reports; the study's name and an underscore by default.
    defaults : dict
        Keys of a setting that its entry leaves out.
    bibtex : str or None
        How to cite the paper, one entry of BibTeX; reports collect them.
    notes : list of str
        Decisions where the paper is silent, printed under each table.
    """

    name: str
    title: PrintedText
    reference: PrintedText
    report_prefix: str = Field(pattern=f"^{NAME_CHARACTER}*$", max_length=LONGEST_NAME)
    defaults: dict[str, Any] = {}
    settings: dict[str, Setting] = {}
    tables: dict[str, Table] = Field(min_length=1)
    bibtex: str | None = Field(None, pattern=r"^@\w+\s*\{")
    notes: list[PrintedText] = []

    @field_validator("tables")
    @classmethod
    def _are_file_names(cls, tables: dict[str, Table]) -> dict[str, Table]:
        for key in tables:
            if not re.fullmatch(f"{NAME_CHARACTER}+", key) or len(key) > LONGEST_NAME:
                raise ValueError(f"{key!r} names files; allowed: letters, digits, _ and -, at most {LONGEST_NAME} of them")
        return tables

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Fill in defaults and replace names of settings. Values of a wrong type are left for validation to report."""
        data = {"report_prefix": f"{data['name']}_", **data}
        parts = {key: data.get(key, {}) for key in ("defaults", "settings", "tables")}
        for key, part in parts.items():
            if not isinstance(part, dict):
                raise ValueError(f"{key}: expected keys and values, found {type(part).__name__}")
        defaults, settings, tables = parts.values()
        settings = {name: _with_defaults(setting, defaults) for name, setting in settings.items()}
        settings = {name: _with_source(setting, settings, (name,)) for name, setting in settings.items()}
        tables = {key: _resolve_table(table, settings, defaults, f"tables.{key}.rows") for key, table in tables.items()}
        return {**data, "settings": settings, "tables": tables}

    def only_rows(self, names: Collection[str] | None) -> Self:
        """This study with the rows of some names alone, without tables that have none of them.

        Parameters
        ----------
        names : collection of str or None
            As `Table.only_rows` takes them.
        """
        tables = {key: table.only_rows(names) for key, table in self.tables.items()}
        return self.model_copy(update={"tables": {key: table for key, table in tables.items() if table.rows}})

    def report(self, table: str) -> str:
        """Name of a table's reports without extension."""
        return self.report_prefix + table


def _with_defaults(setting: Any, defaults: dict[str, Any]) -> Any:
    return {**defaults, **setting} if isinstance(setting, dict) else setting


def _with_source(setting: Any, settings: dict[str, Any], asked: tuple[str, ...] = ()) -> Any:
    """A setting with the setting whose backbone it begins with in the place of its name."""
    source = setting.get("load_from") if isinstance(setting, dict) else None
    if not isinstance(source, str) or source not in settings:
        return setting
    if source in asked:
        raise ValueError(f"settings: load_from goes round in a circle: {' -> '.join([*asked, source])}")
    return {**setting, "load_from": _with_source(settings[source], settings, (*asked, source))}


def _resolve_table(table: Any, settings: dict[str, Any], defaults: dict[str, Any], place: str) -> Any:
    if not isinstance(table, dict) or not isinstance(table.get("rows"), list):
        return table
    columns = list(table["columns"]) if isinstance(table.get("columns"), dict) else []
    return {**table, "rows": [_resolve_row(row, columns, settings, defaults, place) for row in table["rows"]]}


def _resolve_row(row: Any, columns: list[str], settings: dict[str, Any], defaults: dict[str, Any], place: str) -> Any:
    if not isinstance(row, dict):
        return row
    name, setting, published = (row.get(key) for key in ("name", "setting", "published"))
    resolved = {**row, "setting": _with_source(_with_defaults(setting, defaults), settings)}
    if isinstance(name, str):
        resolved["name"] = [name]
    if isinstance(setting, str):
        if setting not in settings:
            raise ValueError(f"{place}: row {name!r} asks for unknown setting {setting!r}; allowed: {', '.join(settings)}")
        resolved["setting"] = settings[setting]
    if isinstance(published, list):
        if len(published) != len(columns):
            raise ValueError(f"{place}: row {name!r} has {len(published)} published numbers for {len(columns)} columns")
        resolved["published"] = dict(zip(columns, published, strict=True))
    return resolved


def load_study(name: str) -> Study:
    """Read ``experiments/studies/<name>.yaml``.

    Raises
    ------
    UserError
        If there is no such study or its file is wrong.
    """
    return read_yaml(STUDIES / f"{name}.yaml", Study, name=name)
