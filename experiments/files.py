"""Files that a reader never sees half written."""

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    path : Path
        The file to replace or create.
    content : dict
        Plain data.
    """
    write_text_atomically(path, json.dumps(content, indent=1) + "\n")


def write_text_atomically(path: Path, text: str) -> None:
    """Write text so that a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    path : Path
        The file to replace or create.
    text : str
        The whole content.
    """
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if the file is missing or damaged.

    Parameters
    ----------
    path : Path
        The file.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return content
