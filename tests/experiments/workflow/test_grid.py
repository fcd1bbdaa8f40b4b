"""What a configuration asks for, and what a wrong one is told."""

from types import SimpleNamespace

import pytest

from experiments.errors import UserError
from experiments.spec.study import load_study
from experiments.workflow.grid import Grid

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": 0}
TABLE6 = SimpleNamespace(report="table6")


def test_one_study_and_one_seed_need_no_list():
    grid = Grid(CONFIGURATION)
    assert list(grid.tables) == ["table1", "table2", "table3", "table4", "table5", "table6"]
    assert len(grid.runs) == 32
    assert len(Grid({**CONFIGURATION, "seeds": [0, 1]}).runs) == 64


def test_a_table_about_cost_wants_its_trainings_only_beside_everything_or_for_its_figures(monkeypatch):
    monkeypatch.setattr(Grid, "existing_metrics", lambda *_: [])
    assert Grid(CONFIGURATION).metrics_for_table(TABLE6) == []
    for ask in (lambda grid: grid.everything(), lambda grid: grid.metrics_for_figures(TABLE6)):
        grid = Grid(CONFIGURATION)
        ask(grid)
        assert len(grid.metrics_for_table(TABLE6)) == 4


def test_several_gpus_are_used_by_several_processes():
    assert Grid(CONFIGURATION).launcher == "python"
    coco = Grid({**CONFIGURATION, "scale": "coco", "data_root": "/somewhere"})
    assert coco.launcher == "python -m experiments.training.launch 4"


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
    assert grid.drawn_reports == ["fapn_table1", "fapn_table2", "fapn_table3"]
    assert "reports/fapn_table5.md" in grid.everything()
    assert not [target for target in grid.everything() if "figures/fapn_table5" in target]


def test_reports_on_cost_have_a_figure_of_latency():
    targets = Grid({**CONFIGURATION, "studies": ["a2fpn", "necks"]}).everything()
    assert [target for target in targets if "latency" in target] == [
        "reports/figures/table6_latency.png",
        "reports/figures/necks_latency.png",
    ]


def test_only_jobs_on_gpus_ask_for_them_and_for_one_machine():
    assert Grid(CONFIGURATION).gpu_resources == {}
    coco = Grid(CONFIGURATION | {"scale": "coco", "data_root": "/somewhere"})
    assert coco.gpu_resources == {"gpu": 4, "gpu_training": 1, "tasks_per_gpu": 0, "nodes": 1}


def test_only_trainings_that_ask_for_gpus_wait_for_checks():
    assert Grid(CONFIGURATION).marks_of_readiness == []
    coco = Grid({**CONFIGURATION, "scale": "coco", "data_root": "/somewhere"})
    assert coco.marks_of_readiness == ["runs/{run}/ready"]
    assert coco.checks == ["checks/coco_4_gpus.json", "checks/coco_disk.json"]
    assert coco.gpus_to_check(None, None) == 4


def test_runs_that_were_asked_for_are_named_until_they_are_too_many(monkeypatch):
    grid = Grid(CONFIGURATION)
    first, second, *_ = grid.runs
    for run in (second, first, second):
        grid.sources(SimpleNamespace(run=run))
    assert grid.runs_to_store(None, None) == sorted([first, second])
    monkeypatch.setattr("experiments.workflow.grid.NAMED_RUNS", 1)
    assert grid.runs_to_store(None, None) == []
