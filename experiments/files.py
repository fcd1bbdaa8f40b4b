"""Files that a reader never sees half written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


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
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes the file's place when the body ends and is removed if it fails.

    The draft is flushed to the disk first: a file that is there is whole, also after a full disk or a power failure.

    Parameters
    ----------
    path : Path
        The file to replace or create. The draft has the same ending.

    Raises
    ------
    OSError
        If the disk is full, among others; it names the file.
    """
    draft = path.with_name(f".{uuid4().hex[:8]}.{path.name}")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


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
