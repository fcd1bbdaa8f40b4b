"""Metrics files become tidy tables."""

import json

import pandas as pd
import pytest

from experiments.errors import UserError
from experiments.records.server_results import answer_file
from experiments.spec.dataset_identity import DatasetIdentity
from reports.collect import collect
from tests.reports.conftest import DATASET


def test_one_line_per_row_seed_and_metric(finished, study):
    run = finished("fpn", 20.0)
    table = study.tables["table2"]
    results = collect(table, "demo", [0, 1]).results
    assert len(results) == 9 * 2 * 7
    line = results[(results.name == "FPN") & (results.seed == 0) & (results.metric == "box_AP")].iloc[0]
    assert (line.run, line.measured, line.published, line.date[:10]) == (run.id, 20.0, 37.1, "2026-01-02")


def test_what_has_not_run_is_missing_and_never_the_papers_number(finished, study):
    finished("fpn", 20.0)
    results = collect(study.tables["table2"], "demo", [0]).results
    assert results[results.row > 0].measured.isna().all()
    assert results.published.notna().all()


def test_curves_hold_the_detectors_losses_and_what_was_validated(finished, study):
    run = finished("a2fpn", 20.0)
    record = json.loads(run.metrics_file.read_text())
    record["history"] = [{"iteration": 10, "loss": 3.0, "loss_cls": 2.5, "loss_orthogonal": 0.5}]
    record["validations"] = [{"epoch": 1, "box_AP": 12.5}]
    run.metrics_file.write_text(json.dumps(record))
    history = collect(study.tables["table2"], "demo", [0]).history
    assert history[["metric", "iteration", "epoch", "value"]].fillna(0).to_numpy().tolist() == [
        ["loss", 10.0, 0.0, 2.5],
        ["box_AP", 0.0, 1.0, 12.5],
    ]


def test_history_is_collected_per_run(finished, study):
    finished("fpn", 20.0)
    finished("fpn", 22.0, seed=1)
    history = collect(study.tables["table2"], "demo", [0, 1]).history
    assert list(history.groupby("seed").size()) == [4, 4]


def test_costs_stand_beside_accuracy(finished, study):
    costs = {setting.key: {"parameters": 1.0, "flops": 2.0, "fps": 3.0} for setting in study.tables["table6"].settings}
    results = collect(study.tables["table6"], "demo", [0], costs).results
    assert set(results.metric) == {"box_AP", "mask_AP", "parameters", "flops", "fps"}
    assert list(results[results.metric == "fps"].published) == [13.1, 12.8, 9.5, 11.1]


def test_runs_of_another_dataset_are_refused(finished, study):
    finished("fpn", 20.0)
    identity = DatasetIdentity.model_validate(DATASET)
    collect(study.tables["table2"], "demo", [0], dataset=identity)
    other = identity.model_copy(update={"val": identity.val.model_copy(update={"annotations_sha256": "b2"})})
    with pytest.raises(UserError, match=r"metrics.json comes from another dataset than datasets/demo.json"):
        collect(study.tables["table2"], "demo", [0], dataset=other)


def test_a_damaged_metrics_file_is_named(finished, study):
    finished("fpn", 20.0).metrics_file.write_text("{")
    with pytest.raises(UserError, match=r"metrics.json is damaged: Invalid JSON"):
        collect(study.tables["table2"], "demo", [0])


def test_rows_trained_under_different_settings_are_refused_unless_the_table_says_so(finished, study):
    table = study.tables["table2"]
    finished("fpn", 20.0, made={"effective_batch": 8, "learning_rate": 0.01})
    finished("pafpn", 21.0, made={"effective_batch": 8, "learning_rate": 0.01})
    collect(table, "demo", [0])
    finished("mgc", 21.0, made={"effective_batch": 16, "learning_rate": 0.02})
    with pytest.raises(UserError, match=r"rows 'FPN' \(8 images per step, learning rate 0.01\) and 'MC' \(16 .*mixed_settings"):
        collect(table, "demo", [0])
    assert len(collect(table.replace(mixed_settings=True), "demo", [0]).runs) == 3


def test_the_servers_answer_stands_beside_what_is_measured_here(finished, study):
    run = finished("a2fpn", 20.0)
    statistics = {
        name: 0.5
        for name in (
            *("AP", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large"),
            *("AR_max_1", "AR_max_10", "AR_max_100", "AR_small", "AR_medium", "AR_large"),
        )
    }
    path = answer_file(run.id)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"segm": {**statistics, "AP": 0.361}}))
    results = collect(study.tables["table1"], "demo", [0]).results
    line = results[(results.name == "Mask R-CNN (ours) R-50-A²-FPN 1x")].set_index("metric")
    assert line.measured["test_mask_AP"] == pytest.approx(36.1)
    assert line.published["test_mask_AP"] == 36.6
    assert pd.isna(line.measured["test_box_AP"])
    assert line.measured["box_AP"] == 20.0
    path.write_text(json.dumps({"segm": {"AP": 36.1}}))
    with pytest.raises(UserError, match=rf"{run.id}.json: segm.AP: is 36.1; expected a fraction"):
        collect(study.tables["table1"], "demo", [0])
