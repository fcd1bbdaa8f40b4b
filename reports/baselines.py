"""What the gains of a table are over, in words."""

from collections.abc import Sequence

import pandas as pd

from experiments.spec.study import Table


def baselines_in_words(table: Table, gains: pd.DataFrame) -> str:
    """The baseline; or what the baselines have in common with their rows; or else each with its rows. Empty without gains.

    Parameters
    ----------
    table : Table
        The table.
    gains : DataFrame
        From `reports.gains`.
    """
    compared = gains.dropna(subset=["gain"]).drop_duplicates("row")
    rows_of = compared.groupby("against", sort=False).name
    if rows_of.ngroups == 1:
        return str(compared.against.iloc[0])
    places = [(row, table.baselines[row]) for row in compared.row]
    names = [(table.rows[row].name, table.rows[baseline].name) for row, baseline in places if baseline is not None]
    return _one_of_each_kind(table.row_header, names) or ", ".join(f"{name} ({', '.join(rows)})" for name, rows in rows_of)


def _one_of_each_kind(headings: Sequence[str], names: Sequence[tuple[list[str], list[str]]]) -> str | None:
    """Such as ``FPN with the same Backbone``; None unless baselines differ only in columns that they share with rows."""
    columns = range(len(headings))
    shared = [column for column in columns if all(row[column] == baseline[column] for row, baseline in names)]
    others = {tuple(baseline[column] for column in columns if column not in shared) for _, baseline in names}
    words = " ".join(part for part in next(iter(others), ()) if part != "–")
    if len(others) > 1 or not shared or not words:
        return None
    return f"{words} with the same {' and '.join(headings[column] for column in shared)}"
