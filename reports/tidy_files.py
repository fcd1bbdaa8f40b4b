"""The tidy tables of a report as CSV files: text stays text between the stages, whatever it looks like.

pandas would read a row called ``None`` or ``NA`` as missing, and ``001`` as a number.
"""

from pathlib import Path

import pandas as pd

from experiments.files import write_text_atomically

# Columns of text; the others are numbers, or true and false. Names are never empty, so an empty field is a missing value.
TEXT = (
    *("name", "run", "setting", "metric", "date", "versions", "commit", "clean", "checkpoint", "machine", "annotations"),
    *("against", "verdict", "claim", "class", "x_name"),
)


def write_tidy(path: Path, frame: pd.DataFrame) -> None:
    """Write a tidy table.

    Parameters
    ----------
    path : Path
        The file.
    frame : DataFrame
        From `reports.collect.collect`.
    """
    write_text_atomically(path, frame.to_csv(index=False))


def read_tidy(path: Path) -> pd.DataFrame:
    """Read a tidy table.

    Parameters
    ----------
    path : Path
        A file of `write_tidy`.
    """
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
