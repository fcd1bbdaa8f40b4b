"""What a configuration asks for, and what a wrong one is told."""

import pytest

from experiments.errors import UserError
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
    assert "296 rows: 128 can be run and share 100 runs (1 seed)" in grid.summary
    shared = {run.id for run in grid.runs_of("necks")} & {run.id for run in grid.runs_of("table2")}
    assert len(shared) == 3


def test_reports_of_which_nothing_can_run_have_no_figures():
    grid = Grid({**CONFIGURATION, "studies": "fapn"})
    assert grid.reports_with_figures == ["fapn_table1", "fapn_table2", "fapn_table3"]
