"""What a configuration asks for, and what a wrong one is told."""

from types import SimpleNamespace

import pytest

from experiments.errors import UserError
from experiments.grid import Grid
from experiments.study import load_study

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": 0}
TABLE6 = SimpleNamespace(report="table6")


def test_one_study_and_one_seed_need_no_list():
    grid = Grid(CONFIGURATION)
    assert list(grid.tables) == ["table2", "table3", "table4", "table5", "table6"]
    assert len(grid.runs) == 18
    assert len(Grid({**CONFIGURATION, "seeds": [0, 1]}).runs) == 36


def test_a_table_about_cost_wants_its_trainings_only_beside_everything_or_for_its_figures(monkeypatch):
    monkeypatch.setattr(Grid, "existing_metrics", lambda *_: [])
    assert Grid(CONFIGURATION).metrics_for_table(TABLE6) == []
    for ask in (lambda grid: grid.everything(), lambda grid: grid.metrics_for_figures(TABLE6)):
        grid = Grid(CONFIGURATION)
        ask(grid)
        assert len(grid.metrics_for_table(TABLE6)) == 4


def test_several_gpus_are_used_through_torchrun():
    assert Grid(CONFIGURATION).launcher == "python"
    coco = Grid({**CONFIGURATION, "scale": "coco", "data_root": "/somewhere"})
    assert coco.launcher == "torchrun --standalone --nproc-per-node 4"


def test_two_tables_of_one_report_name_are_refused(monkeypatch):
    study = load_study("a2fpn")
    monkeypatch.setattr("experiments.grid.load_study", lambda name: study.replace(name=name))
    with pytest.raises(UserError, match="two tables of one, other have the same report name"):
        Grid({**CONFIGURATION, "studies": ["one", "other"]})


def test_a_folder_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="no permission to write"):
        Grid(CONFIGURATION)
