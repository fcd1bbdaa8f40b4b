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
        If the file names no classes, or leaves a number out.
    """
    is_yaml = path.suffix in (".yaml", ".yml")
    names = _names_in_yaml(path) if is_yaml else [line.strip() for line in read_text(path).splitlines()]
    names = [name for name in names if name]
    if not names:
        raise UserError(f"{path}: names no classes; allowed: the key names in YAML, or a name in each line")
    refuse_repeated(names, f"{path}: names class")
    return names


def _names_in_yaml(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML: {first_line(error, 'it cannot be read')}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, dict):
        return [str(name) for name in names or []]
    by_number = {str(number): str(name) for number, name in names.items()}
    missing = [number for number in map(str, range(len(names))) if number not in by_number]
    if missing:
        raise UserError(f"{path}: names has no class {missing[0]}; allowed: numbers from 0, none left out")
    return [by_number[str(number)] for number in range(len(names))]
