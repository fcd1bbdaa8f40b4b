"""A file of classes -> their names by their numbers."""

from pathlib import Path

import yaml

from experiments.data.converters.coco_content import read_text, refuse_repeated
from experiments.errors import UserError, first_line


def read_classes(path: Path) -> list[str]:
    """Names of the classes by their numbers.

    Parameters
    ----------
    path : Path
        ``data.yaml`` with ``names``, a list or a mapping from numbers, or a text file with a name in each line.

    Raises
    ------
    UserError
        If the file names no classes, leaves a number out, or has a class without a name.
    """
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    names = _names_in_yaml(path) if is_yaml else [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not names:
        raise UserError(f"{path}: names no classes; allowed: the key names in YAML, or a name in each line")
    # Without it the classes after it would have other numbers.
    if "" in names:
        raise UserError(f"{path}: class {names.index('')} has no name; allowed: a name for each, counted from 0")
    refuse_repeated(names, f"{path}: names class")
    return names


def _names_in_yaml(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML: {first_line(error, 'it cannot be read')}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, list | dict | None):
        raise UserError(f"{path}: names is {names!r}; allowed: a list, or a mapping from numbers")
    if not isinstance(names, dict):
        return list(map(_text, names or []))
    by_number = {str(number): _text(name) for number, name in names.items()}
    missing = [number for number in map(str, range(len(names))) if number not in by_number]
    if missing:
        raise UserError(f"{path}: names has no class {missing[0]}; allowed: numbers from 0, none left out")
    return [by_number[str(number)] for number in range(len(names))]


def _text(name: object) -> str:
    return "" if name is None else str(name).strip()
