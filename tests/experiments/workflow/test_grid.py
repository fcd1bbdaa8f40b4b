"""What a configuration asks for, and what a wrong one is told."""

import pytest

from experiments.errors import UserError
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from experiments.workflow.grid import Grid

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": 0}


def test_one_study_and_one_seed_need_no_list():
    grid = Grid(CONFIGURATION)
    assert list(grid.tables) == ["table1", "table2", "table3", "table4", "table5", "table6"]
    assert len(grid.runs) == 32
    assert len(Grid({**CONFIGURATION, "seeds": [0, 1]}).runs) == 64


def test_two_tables_of_one_report_name_are_refused(monkeypatch):
    study = load_study("a2fpn")
    monkeypatch.setattr("experiments.workflow.grid.load_study", lambda name: study.replace(name=name))
    with pytest.raises(UserError, match="two tables of one, other have the same report name"):
        Grid({**CONFIGURATION, "studies": ["one", "other"]})


def test_a_folder_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="no permission to write"):
        Grid(CONFIGURATION)


def test_all_studies_together_train_shared_runs_once():
    grid = Grid({**CONFIGURATION, "studies": ["a2fpn", "fapn", "aff", "afa", "a3fpn", "necks"]})
    assert "317 rows: 250 can be run and share 202 runs (1 seed)" in grid.summary
    shared = {run.id for run in grid.runs_of("necks")} & {run.id for run in grid.runs_of("table2")}
    assert len(shared) == 3


def test_a_column_that_every_run_would_leave_empty_is_refused(monkeypatch):
    demo = load_scale("demo")
    monkeypatch.setattr("experiments.workflow.grid.load_scale", lambda _: demo.replace(protocols=["visdrone"]))
    sentence = (
        r"a3fpn\.yaml: tables\.table3\.columns: box_VOC07_AP is measured where a scale has protocols: \[voc\], and .*demo"
    )
    with pytest.raises(UserError, match=sentence):
        Grid({**CONFIGURATION, "studies": "a3fpn"})


def test_reports_of_which_nothing_can_run_have_no_figures():
    grid = Grid({**CONFIGURATION, "studies": "fapn"})
    assert grid.reports_with_figures == [f"fapn_table{number}" for number in (1, 2, 3, 4, 5, 6, 8)]


def test_rows_restrict_every_table_to_those_of_a_name():
    grid = Grid({**CONFIGURATION, "rows": ["FPN", "MC+GE+GP"]})
    assert list(grid.tables) == ["table2", "table4", "table5", "table6"], "other tables have none of these"
    assert [row.label for row in grid.table("table2").rows] == ["FPN", "MC+GE+GP"]
    assert len(grid.runs) == 2
    assert [row.label for row in Grid({**CONFIGURATION, "rows": "PAFPN"}).table("table2").rows] == ["PAFPN"]


def test_a_row_may_be_named_by_one_of_its_names():
    rows = load_study("a2fpn").tables["table1"].rows
    name = next(row.name[0] for row in rows if row.setting and row.label != row.name[0])
    grid = Grid({**CONFIGURATION, "rows": name})
    assert {row.name[0] for row in grid.table("table1").rows} == {name}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["FPM"], r"rows: no table of a2fpn has a row 'FPM'; the nearest are: FPN, PAFPN"),
        ([1], "rows: one is 1, which YAML takes for a number; put it into quotes: '1'"),
        (["FPN", "FPN"], "rows: names one twice: FPN, FPN"),
        ([], "rows: List should have at least 1 item"),
    ],
)
def test_wrong_rows_are_one_sentence(rows, sentence):
    with pytest.raises(UserError, match=sentence):
        Grid({**CONFIGURATION, "rows": rows})
