"""YAML files read into validated models; an error becomes one sentence with file and key."""

import datetime
import re
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from experiments.errors import UserError, first_line, first_problem

Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """A frozen model that names the allowed keys when it meets an unknown one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_allowed_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [str(key) for key in data if key not in cls.model_fields]
            if unknown:
                raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(cls.model_fields)}")
        return data

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the given fields exchanged."""
        return self.model_copy(update=changes)


# A character of a name that becomes a file's.
NAME_CHARACTER = "[A-Za-z0-9_-]"
# Characters that cannot be seen, and that change the direction of all that follows.
UNPRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]")


def _is_printed(text: str) -> str:
    if found := UNPRINTED.search(text):
        raise ValueError(f"has the control character U+{ord(found[0]):04X}; allowed: printed text")
    return text


# What a reader of a table sees.
PrintedText = Annotated[str, AfterValidator(_is_printed)]


class PrintedNumber(float):
    """A number that remembers how it was written, trailing zeros and all.

    Parameters
    ----------
    text : str
        The number as written in the file.
    """

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


# libyaml's loader, if PyYAML was built with it, is nine times faster.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(_SafeLoader):  # type: ignore[misc, valid-type]
    """A loader that refuses duplicate keys, of which YAML would silently keep the last."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Check the mapping's own keys before those of ``<<`` are added, which its own may replace."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        nodes = [key for key, _ in node.value if key.tag != MERGE]
        keys = [self.construct_object(key, deep=True) for key in nodes]
        for position, key in enumerate(keys if _has_duplicates(keys) else ()):
            if key in keys[:position]:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", nodes[position].start_mark)


def _has_duplicates(keys: list[Any]) -> bool:
    try:
        return len(set(keys)) < len(keys)
    except TypeError:
        return True


def _construct_float(loader: yaml.Loader, node: yaml.ScalarNode) -> float:
    number = loader.construct_yaml_float(node)
    return PrintedNumber(node.value) if number == _float_or_none(node.value) else number


def _float_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def left_out_of_identity(default: Any) -> Any:
    """A field that is left out of a run's spec while it has its default, so that older runs keep their ids.

    Parameters
    ----------
    default
        The default of the field.
    """
    return Field(default, exclude_if=lambda value: value == default)


def read_yaml(path: Path, model: type[Model], **extra: Any) -> Model:
    """Read a YAML file into a model.

    Parameters
    ----------
    path : Path
        The file.
    model : type of BaseModel
        Model of the content.
    extra
        Fields that do not stand in the file, such as its name.

    Raises
    ------
    UserError
        If the file is missing, is not YAML, or does not fit the model.
    """
    return validate(load_yaml(path) | extra, model, str(path))


def load_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UserError
        If the file is missing, is not YAML, or holds something else.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        siblings = sorted(sibling.stem for sibling in path.parent.glob("*.yaml"))
        raise UserError(f"{path} does not exist; there are: {', '.join(siblings) or 'none'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or first_line(error, "it is not YAML")
        raise UserError(f"{path}{place}: {reason}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected keys and values, found {type(data).__name__}")
    if place_and_key := _key_that_is_no_text(data):
        place, key = place_and_key
        raise UserError(f"{path}: {place}the key {key} is {yaml_kind(key)} to YAML; put it into quotes: '{key}'")
    return data


def yaml_kind(value: Any) -> str:
    """The word for what YAML has made of a text that was written without quotes.

    Parameters
    ----------
    value
        Anything that a YAML file holds.
    """
    kinds = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing", datetime.date: "a date"}
    return kinds.get(type(value), "a number" if isinstance(value, float) else f"a {type(value).__name__}")


def not_text(value: object) -> str:
    """What is wrong with a value that should be text, and the remedy; continues a sentence.

    Parameters
    ----------
    value
        What YAML has made of it.
    """
    return f"{value}, which YAML takes for {yaml_kind(value)}; put it into quotes: '{value}'"


def _key_that_is_no_text(data: Any, place: str = "") -> tuple[str, Any] | None:
    """The first key that is no text, and the keys that lead to it."""
    if isinstance(data, list):
        entries = [(f"{place}{index}.", entry) for index, entry in enumerate(data)]
    elif isinstance(data, dict):
        for key in data:
            if not isinstance(key, str):
                return place, key
        entries = [(f"{place}{key}.", entry) for key, entry in data.items()]
    else:
        return None
    return next((found for prefix, entry in entries if (found := _key_that_is_no_text(entry, prefix))), None)


def validate(data: dict[str, Any], model: type[Model], source: str) -> Model:
    """Build a model from plain data; `source` names the data in the error.

    Raises
    ------
    UserError
        If the data do not fit the model; the first problem is told.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error)}") from None
