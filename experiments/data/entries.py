"""Entries of annotation files: their values, and the words for them in a sentence."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.data.findings import Findings

# An image, a category or an annotation.
Entry = dict[str, Any]
NUMBERS = {int, float}
# COCO 2017 itself has some objects that loaders leave out, two boxes without height among them. So few, of all, are a notice.
FEW = 1 / 1000
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


def refuse_unless_few(
    entries: list[Entry], are_wrong: np.ndarray, sentence: Callable[[Entry], str], notice: str, findings: Findings
) -> None:
    """Record a fault where it is more than COCO itself has of it, else a notice.

    Parameters
    ----------
    entries : list of dict
        The entries that were checked.
    are_wrong : np.ndarray
        (N,), true for those that are wrong.
    sentence, notice
        As for `Findings.refuse` and `Findings.notice`.
    findings : Findings
        Receives them.
    """
    count = int(are_wrong.sum())
    if count > FEW * len(entries):
        findings.refuse(chosen(entries, are_wrong), sentence)
    else:
        findings.notice(count, notice)


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
