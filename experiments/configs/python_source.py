"""Plain data as Python source in mmdetection's manner."""

import json
import keyword
from typing import Any

LINE_LENGTH = 120


def to_python(value: Any, indent: int = 0) -> str:
    """Plain data as Python source in mmdet's manner: ``dict(key=value)``, one entry per line where a line would be too long.

    Parameters
    ----------
    value
        Nested dicts, lists, tuples, strings, numbers, booleans or None.
    indent : int
        Columns already taken by the surrounding text.
    """
    if isinstance(value, dict):
        return _join("dict(", ")", [(*_around_item(key), item) for key, item in value.items()], indent)
    if isinstance(value, list | tuple):
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ",)" if len(value) == 1 else ")")
        return _join(opening, closing, [("", "", item) for item in value], indent)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _around_item(key: str) -> tuple[str, str]:
    """What stands before and after an item of a dict; a key that Python would refuse or normalise as a keyword is unpacked."""
    if key.isascii() and key.isidentifier() and not keyword.iskeyword(key):
        return f"{key}=", ""
    return f"**{{{key!r}: ", "}"


def _join(opening: str, closing: str, entries: list[tuple[str, str, Any]], indent: int) -> str:
    one_line = opening + ", ".join(before + to_python(value) + after for before, after, value in entries) + closing
    if "\n" not in one_line and indent + len(one_line) <= LINE_LENGTH:
        return one_line
    inner = " " * (indent + 4)
    lines = [f"{inner}{before}{to_python(value, indent + 4)}{after},\n" for before, after, value in entries]
    return f"{opening}\n{''.join(lines)}{' ' * indent}{closing.lstrip(',')}"
