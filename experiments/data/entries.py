"""Entries of annotation files: their values, and the words for them in a sentence."""

import math
from typing import Any

import numpy as np

# An image, a category or an annotation.
Entry = dict[str, Any]
NUMBERS = {int, float}
LONGEST = 60


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return type(value) in NUMBERS and math.isfinite(value)


def are_numbers(value: Any, count: int | None = None) -> bool:
    """Whether a value is a list of finite numbers, at least one, or `count`."""
    if type(value) is not list or not value or (count is not None and len(value) != count):
        return False
    return set(map(type, value)) <= NUMBERS and math.isfinite(sum(value))


def chosen(entries: list[Entry], are_wrong: np.ndarray) -> list[Entry]:
    """The entries at which an array (N,) is true."""
    return [entries[index] for index in np.flatnonzero(are_wrong)]


def the(kind: str, entry: Entry) -> str:
    """An entry by its id, such as ``annotation 17``."""
    return f"{kind} {short(entry['id'])}" if "id" in entry else f"{kind} without id ({short(entry)})"


def shown(entry: Entry, key: str) -> str:
    """What an entry has at a key: ``is 17`` or ``is missing``."""
    return f"is {short(entry[key])}" if key in entry else "is missing"


def short(value: Any) -> str:
    """A value as it is written, cut to a length that fits into a sentence."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def kind_of(value: Any) -> str:
    """JSON's word for a value."""
    names = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "null")
