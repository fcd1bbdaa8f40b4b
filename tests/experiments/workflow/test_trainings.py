"""A training waits for what it needs, is made again when its sources mean something else, and says which rows it serves."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.spec.fingerprint import fingerprints
from experiments.workflow.grid import Grid


@pytest.fixture
def forced():
    """The files that Snakemake was told to make again."""
    return []


@pytest.fixture
def trainings(small_grid, rules_of, forced):
    return rules_of(small_grid(), force=forced.append).trainings


def of_run(run):
    return SimpleNamespace(run=run.id)


@pytest.fixture
def finished(trainings, leave):
    """A function that finishes the grid's first run, with today's sources or others."""
    run = next(iter(trainings.grid.runs.values()))

    def finish(**changes):
        leave(run, "metrics.json", {"provenance": {"sources": fingerprints(run.models, run.task) | changes}, "versions": {}})
        return run

    return finish


def test_only_trainings_that_ask_for_gpus_wait_for_checks(rules_of):
    configuration = {"studies": "a2fpn", "scale": "demo", "seeds": 0}
    demo, coco = (rules_of(Grid(configuration | at)).trainings for at in ({}, {"scale": "coco", "data_root": "/somewhere"}))
    assert demo.preflight_markers(of_run(next(iter(demo.grid.runs.values())))) == []
    run = next(iter(coco.grid.runs.values()))
    assert coco.preflight_markers(of_run(run)) == [f"runs/{run.id}/ready"]


@pytest.mark.parametrize("is_collected", [False, True])
def test_a_run_that_is_missing_waits_for_its_dataset_and_is_forced_if_a_table_was_made_of_it(trainings, forced, is_collected):
    run = next(iter(trainings.grid.runs.values()))
    if is_collected:
        Path("reports/data").mkdir(parents=True)
        Path("reports/data/two_necks_table2.csv").touch()
    assert trainings.dataset_to_train_on(of_run(run)) == ["datasets/instant.json"]
    assert forced == [f"runs/{run.id}/metrics.json"] * is_collected


def test_the_message_of_a_training_names_all_its_rows_and_its_seed(trainings):
    run = next(iter(trainings.grid.runs.values()))
    words = trainings.job_in_words(
        of_run(run), None, 4, {"mem_mb": 2000, "mem_mib": 1908, "_cores": 4, "gpu": 1, "tmpdir": "/tmp"}
    )
    assert words.splitlines() == [
        f"run {run.id}: two_necks_table1, two_necks_table2: FPN, seed 0",
        "    threads: 4",
        "    resources: mem_mb=2000, gpu=1",
    ]


def test_the_message_of_a_training_says_how_long_the_setting_took_with_other_seeds(trainings, small_grid, leave):
    for seed, seconds in ((1, 100), (2, 125), (3, 1000)):
        run = next(iter(small_grid(seeds=[seed]).runs.values()))
        made = {"seconds": seconds, "seconds_per_iteration": 1.0, "resumed_from": None, "seed": seed}
        leave(run, "metrics.json", {"spec": run.spec, "history": [{"iteration": 9, "loss": 1.0}], "provenance": made})
    runs = list(trainings.grid.runs.values())
    first_lines = [trainings.job_in_words(of_run(run), None, 4, {}).splitlines()[0] for run in runs]
    assert [line.partition(", seed 0")[2] for line in first_lines] == [", about 2 min", ""]


def test_a_finished_run_of_todays_sources_has_no_inputs(trainings, finished, forced):
    run = finished()
    assert trainings.dataset_to_train_on(of_run(run)) == forced == []


def test_a_finished_run_of_other_sources_is_trained_again(trainings, finished, forced):
    run = finished()
    recorded = fingerprints(run.models, run.task)
    (path,) = [path for path in recorded if path.endswith("train.py")]
    run = finished(**{path: "0" * 16})
    assert trainings.dataset_to_train_on(of_run(run)) == ["datasets/instant.json"]
    assert forced == [f"runs/{run.id}/metrics.json"]


@pytest.mark.parametrize("content", ["{}", "", '{"provenance": {"sources": {', json.dumps({"provenance": {}}, indent=1)])
def test_a_run_that_has_recorded_no_sources_or_is_damaged_is_not_trained_again(trainings, leave, forced, content):
    run = next(iter(trainings.grid.runs.values()))
    leave(run, "metrics.json", content)
    assert trainings.dataset_to_train_on(of_run(run)) == forced == []
