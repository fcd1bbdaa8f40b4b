"""Copies of reports by scale and seeds."""

import pandas as pd
import pytest

from reports.kept import keep_copies


@pytest.mark.parametrize(
    ("seeds", "name"), [([0], "seeds_0"), ([1, 0], "seeds_0_1"), ([0, 1, 2], "seeds_0-2"), ([0, 2, 4], "seeds_0_2_4")]
)
def test_a_report_of_other_seeds_overwrites_no_copy(tmp_path, seeds, name):
    table, figure = tmp_path / "reports/table2.md", tmp_path / "reports/figures/table2_ap.png"
    figure.parent.mkdir(parents=True)
    for file in (table, figure):
        file.write_text("of these seeds")
    keep_copies([table, figure], "demo", pd.DataFrame({"seed": [*seeds, None]}))
    for file in (table, figure):
        file.write_text("of other seeds")
    keep_copies([table, figure], "demo", pd.DataFrame({"seed": [7.0]}))
    for path in ("table2.md", "figures/table2_ap.png"):
        assert (tmp_path / "reports/by_scale/demo" / name / path).read_text() == "of these seeds"
        assert (tmp_path / "reports/by_scale/demo/seeds_7" / path).read_text() == "of other seeds"


def test_a_report_without_runs_has_no_copy(tmp_path):
    table = tmp_path / "reports/table2.md"
    table.parent.mkdir()
    table.write_text("nothing can be run")
    keep_copies([table], "demo", pd.DataFrame({"seed": [None]}))
    assert not (tmp_path / "reports/by_scale").exists()


def test_a_report_of_some_rows_overwrites_no_copy_of_all(tmp_path):
    table = tmp_path / "reports/table2.md"
    table.parent.mkdir()
    for content, is_whole in (("all", True), ("some", False)):
        table.write_text(content)
        keep_copies([table], "demo", pd.DataFrame({"seed": [0]}), is_whole)
    assert (tmp_path / "reports/by_scale/demo/seeds_0/table2.md").read_text() == "all"
    assert (tmp_path / "reports/by_scale/demo/seeds_0_some_rows/table2.md").read_text() == "some"
