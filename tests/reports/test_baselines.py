"""What the sentence above a table says that gains are over."""

import pandas as pd
import pytest

from experiments.spec.study import load_study
from reports.baselines import baselines_in_words


def gains(table):
    """One gain for each row that has a baseline."""
    compared = [(row, baseline) for row, baseline in enumerate(table.baselines) if baseline is not None]
    lines = [
        {"row": row, "name": table.rows[row].label, "against": table.rows[baseline].label, "metric": name, "gain": 1.0}
        for row, baseline in compared
        if table.rows[row].setting and table.rows[baseline].setting
        for name in list(table.columns)[:2]
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("study", "key", "words"),
    [
        ("a2fpn", "table2", "PAFPN"),
        ("aff", "table4", "Add none with the same b"),
        ("aff", "table7", "AFF with the same b"),
        ("fapn", "table5", "FPN with the same Backbone and Schedule"),
        (
            "aff",
            "table9",
            "ResNet-50 (AFF-ResNet-50, iAFF-ResNet-50), ResNeXt-50-32x4d (AFF-ResNeXt-50-32x4d, iAFF-ResNeXt-50-32x4d)",
        ),
    ],
)
def test_baselines_of_papers_tables(study, key, words):
    table = load_study(study).tables[key]
    assert baselines_in_words(table, gains(table)) == words


def test_baselines_that_differ_in_other_columns_too_are_each_named_with_their_rows():
    table = load_study("aff").tables["table7"]
    of_rows = gains(table)
    several = [place for place, row in enumerate(table.rows) if row.name[0] == "iterative AFF"]
    mixed = table.model_copy(
        update={
            "rows": [
                row.model_copy(update={"against": "Half-AFF 1"}) if place == several[0] else row
                for place, row in enumerate(table.rows)
            ]
        }
    )
    of_rows.loc[of_rows.row == several[0], "against"] = "Half-AFF 1"
    assert baselines_in_words(mixed, of_rows) == (
        "Half-AFF 1 (iterative AFF 1), AFF 2 (iterative AFF 2), AFF 3 (iterative AFF 3)"
    )
