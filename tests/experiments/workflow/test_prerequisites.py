"""What trainings wait for: the dataset where it is needed, checks where GPUs are, and the runs that these look at."""

from pathlib import Path

import pytest

from experiments.workflow.grid import Grid


def test_trainings_that_ask_for_gpus_have_checks_of_them_and_of_the_disk(rules_of):
    prerequisites = rules_of(Grid({"studies": "a2fpn", "scale": "coco", "data_root": "/somewhere", "seeds": 0})).prerequisites
    assert prerequisites.checks == ["checks/coco_4_gpus.json", "checks/coco_disk.json"]
    assert prerequisites.gpus_to_check(None, None) == 4


def test_missing_runs_that_were_asked_for_are_named_until_they_are_too_many(small_grid, rules_of, monkeypatch):
    first, second = small_grid().runs

    def runs_to_store(*asked):
        return rules_of(small_grid(), *asked).prerequisites.runs_to_store(None, None)

    both = [f"runs/{run}/metrics.json" for run in (second, first)]
    assert runs_to_store(*both) == sorted([first, second])
    assert runs_to_store("reports/two_necks_table1.md") == [first]
    assert len(runs_to_store("reports/two_necks_table2.md")) == 2
    monkeypatch.setattr("experiments.workflow.asked.NAMED_RUNS", 1)
    assert runs_to_store(*both) == []


def test_the_data_are_looked_for_when_they_are_needed(small_grid, rules_of):
    grid = small_grid(scale="tiny_coco", data_root="~/nowhere")
    assert rules_of(grid, is_dry_run=True).prerequisites.data_root(None) == str(Path.home() / "nowhere")
    with pytest.raises(SystemExit, match=r"error: experiments/config.yaml: data_root: /.*/nowhere is not a folder"):
        rules_of(grid).prerequisites.data_root(None)
