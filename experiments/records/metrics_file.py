"""What a run leaves in its ``metrics.json``."""

import json
from pathlib import Path

SOURCES = b'"sources": {'


def recorded_sources(path: Path) -> dict[str, str] | None:
    """Path and hash of the sources that a run was trained by; None if the run has recorded none.

    Reads a part of the file: at 10,000 runs, parsing all of each would take most of the time of a dry run.

    Parameters
    ----------
    path : Path
        A ``metrics.json``.
    """
    content = path.read_bytes()
    start = content.rfind(SOURCES)
    if start < 0:
        return None
    end = content.find(b"}", start)
    try:
        return json.loads(content[start + len(SOURCES) - 1 : end + 1])
    except ValueError:
        return None  # damaged; whoever reads all of it says so
