"""What the Snakefile is told of its rules: the same answer whatever was asked before."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.spec.fingerprint import fingerprints
from experiments.workflow.grid import Grid
from experiments.workflow.targets import Targets

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": 0}
COCO = CONFIGURATION | {"scale": "coco", "data_root": "/somewhere"}
TABLE6 = SimpleNamespace(report="table6")


def refuse(file):
    raise AssertionError(f"{file} need not be made again")


def targets_of(configuration=CONFIGURATION, *asked):
    return Targets(Grid(configuration), lambda: asked, refuse)


@pytest.fixture
def forced():
    """The files that Snakemake was told to make again."""
    return []


@pytest.fixture
def targets(small_grid, forced):
    return Targets(small_grid(), lambda: (), lambda file: forced.append(file))


def of_run(run):
    return SimpleNamespace(run=run.id)


@pytest.fixture
def finished(targets, leave):
    """A function that finishes the grid's first run, with today's sources or others."""
    run = next(iter(targets.grid.runs.values()))

    def finish(**changes):
        leave(run, "metrics.json", {"provenance": {"sources": fingerprints(run.models, run.task) | changes}, "versions": {}})
        return run

    return finish


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["reports/table6.md"], 0),
        (["reports/table6.md", "reports/table60.md"], 0),
        (["reports/table6.md", "reports/figures/table6_ap.png"], 4),
        (["all"], 4),
        ([], 4),
    ],
)
def test_a_table_about_cost_wants_its_trainings_only_beside_everything_or_for_its_figures(tmp_path, monkeypatch, asked, count):
    monkeypatch.setattr("experiments.workflow.targets.Targets._existing_metrics", lambda *_: [])
    assert len(targets_of(CONFIGURATION, *asked).metrics_of_table(TABLE6)) == count


def test_no_answer_depends_on_the_questions_before():
    targets = targets_of(CONFIGURATION, "reports/table6.md")
    before = targets.metrics_of_table(TABLE6)
    targets.all_reports()
    targets.metrics_of_figures(TABLE6)
    assert targets.metrics_of_table(TABLE6) == before


def test_reports_of_which_nothing_can_run_have_no_figures():
    reports = targets_of({**CONFIGURATION, "studies": "fapn"}).all_reports()
    assert "reports/fapn_table7.md" in reports
    assert not [target for target in reports if "figures/fapn_table7" in target]


def test_reports_on_cost_have_a_figure_of_latency():
    reports = targets_of({**CONFIGURATION, "studies": ["a2fpn", "necks"]}).all_reports()
    assert [target for target in reports if "latency" in target] == [
        "reports/figures/table6_latency.png",
        "reports/figures/necks_latency.png",
    ]


def test_only_trainings_that_ask_for_gpus_wait_for_checks():
    demo, coco = targets_of(), targets_of(COCO)
    assert demo.preflight_markers(of_run(next(iter(demo.grid.runs.values())))) == []
    run = next(iter(coco.grid.runs.values()))
    assert coco.preflight_markers(of_run(run)) == [f"runs/{run.id}/ready"]
    assert coco.checks == ["checks/coco_4_gpus.json", "checks/coco_disk.json"]
    assert coco.gpus_to_check(None, None) == 4


def test_missing_runs_that_were_asked_for_are_named_until_they_are_too_many(small_grid, monkeypatch):
    first, second = small_grid().runs

    def targets_for(*asked):
        return Targets(small_grid(), lambda: asked, refuse)

    targets = targets_for(*(f"runs/{run}/metrics.json" for run in (second, first)))
    assert targets.runs_to_store(None, None) == sorted([first, second])
    assert targets_for("reports/two_necks_table1.md").runs_to_store(None, None) == [first]
    assert len(targets_for("reports/two_necks_table2.md").runs_to_store(None, None)) == 2
    monkeypatch.setattr("experiments.workflow.targets.NAMED_RUNS", 1)
    assert targets.runs_to_store(None, None) == []


@pytest.mark.parametrize("is_collected", [False, True])
def test_a_run_that_is_missing_waits_for_its_dataset_and_is_forced_if_a_table_was_made_of_it(targets, forced, is_collected):
    run = next(iter(targets.grid.runs.values()))
    if is_collected:
        Path("reports/data").mkdir(parents=True)
        Path("reports/data/two_necks_table2.csv").touch()
    assert targets.dataset_to_train_on(of_run(run)) == ["datasets/instant.json"]
    assert forced == [f"runs/{run.id}/metrics.json"] * is_collected


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("two_necks_tabel2", "two_necks_table2"), ("table1", "two_necks_table1"), ("nothing", "two_necks_table1")],
)
def test_a_report_that_does_not_exist_is_told_the_nearest_first(targets, asked, nearest):
    with pytest.raises(SystemExit) as refused:
        targets.no_such_report(SimpleNamespace(unknown=asked, format="md"))
    assert str(refused.value).startswith(f"error: reports/{asked}.md: two_necks have no such report; there are: {nearest}, two")


def test_reports_and_their_files_are_known(targets):
    unknown = re.compile(f"reports/(?P<unknown>{targets.unknown_reports})[.](?P<format>md|csv|png)")
    known = ("two_necks_table1", "data/two_necks_table2", "data/two_necks_table2_runs", "figures/two_necks_table1_ap")
    assert not [name for name in known if unknown.fullmatch(f"reports/{name}.csv")]
    others = ("two_necks_table9", "two_necks_table11", "figures/two_necks_table1_pa", "data/two_necks_table1_x", "table1")
    assert all(unknown.fullmatch(f"reports/{name}.csv") for name in others)


def test_the_message_of_a_training_names_all_its_rows_and_its_seed(targets):
    run = next(iter(targets.grid.runs.values()))
    words = targets.job_in_words(
        of_run(run), None, 4, {"mem_mb": 2000, "mem_mib": 1908, "_cores": 4, "gpu": 1, "tmpdir": "/tmp"}
    )
    assert words.splitlines() == [
        f"run {run.id}: two_necks_table1, two_necks_table2: FPN, seed 0",
        "    threads: 4",
        "    resources: mem_mb=2000, gpu=1",
    ]


def test_the_message_of_a_training_says_how_long_the_setting_took_with_other_seeds(targets, small_grid, leave):
    for seed, seconds in ((1, 100), (2, 125), (3, 1000)):
        run = next(iter(small_grid(seeds=[seed]).runs.values()))
        made = {"seconds": seconds, "seconds_per_iteration": 1.0, "resumed_from": None, "seed": seed}
        leave(run, "metrics.json", {"spec": run.spec, "history": [{"iteration": 9, "loss": 1.0}], "provenance": made})
    runs = list(targets.grid.runs.values())
    first_lines = [targets.job_in_words(of_run(run), None, 4, {}).splitlines()[0] for run in runs]
    assert [line.partition(", seed 0")[2] for line in first_lines] == [", about 2 min", ""]


def test_the_data_are_looked_for_when_they_are_needed(small_grid):
    grid = small_grid(scale="tiny_coco", data_root="~/nowhere")
    for is_dry_run in (True, False):
        targets = Targets(grid, lambda: (), refuse, is_dry_run)
        if is_dry_run:
            assert targets.data_root(None) == str(Path.home() / "nowhere")
        else:
            with pytest.raises(SystemExit, match=r"error: experiments/config.yaml: data_root: /.*/nowhere is not a folder"):
                targets.data_root(None)


def test_a_finished_run_of_todays_sources_has_no_inputs(targets, finished, forced):
    run = finished()
    assert targets.dataset_to_train_on(of_run(run)) == forced == []


def test_a_finished_run_of_other_sources_is_trained_again(targets, finished, forced):
    run = finished()
    recorded = fingerprints(run.models, run.task)
    (path,) = [path for path in recorded if path.endswith("train.py")]
    run = finished(**{path: "0" * 16})
    assert targets.dataset_to_train_on(of_run(run)) == ["datasets/instant.json"]
    assert forced == [f"runs/{run.id}/metrics.json"]


@pytest.mark.parametrize("content", ["{}", "", '{"provenance": {"sources": {', json.dumps({"provenance": {}}, indent=1)])
def test_a_run_that_has_recorded_no_sources_or_is_damaged_is_not_trained_again(targets, leave, forced, content):
    run = next(iter(targets.grid.runs.values()))
    leave(run, "metrics.json", content)
    assert targets.dataset_to_train_on(of_run(run)) == forced == []
