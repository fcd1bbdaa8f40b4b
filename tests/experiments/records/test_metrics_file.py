"""Metrics of a run, written and read."""

import json

import pytest

from experiments.errors import UserError
from experiments.records.metrics_file import Provenance, RunMetrics, may_be_read, read_metrics, recorded_sources, write_metrics
from experiments.spec.dataset_identity import DatasetIdentity, SplitIdentity

SPLIT = SplitIdentity(annotations_sha256="0" * 64, images=2, annotations=5)
METRICS = RunMetrics(
    run="0123456789ab",
    spec={"neck": {"type": "FPN"}},
    metrics={"box_AP": 12.5, "box_APL": None},
    history=[{"iteration": 8, "loss": 1.25}],
    parameters=10,
    dataset=DatasetIdentity(train=SPLIT, val=SPLIT),
    provenance=Provenance(date="2026-01-02", sources={"necks/a.py": "0" * 16}, versions={"torch": "2"}, clean=True),
)


@pytest.fixture
def path(tmp_path):
    """Where the run leaves its metrics."""
    folder = tmp_path / METRICS.run
    folder.mkdir()
    return folder / "metrics.json"


def test_what_was_written_is_read(path):
    assert read_metrics(path) is None
    write_metrics(path, METRICS)
    assert read_metrics(path) == METRICS
    assert json.loads(path.read_text())["provenance"]["date"] == "2026-01-02"


def test_the_sources_are_found_without_reading_all_of_the_file(path):
    write_metrics(path, METRICS)
    assert recorded_sources(path) == {"necks/a.py": "0" * 16}
    write_metrics(path, METRICS.model_copy(update={"provenance": Provenance()}))
    assert recorded_sources(path) is None


def test_the_former_name_of_the_provenance_is_understood(path):
    write_metrics(path, METRICS)
    path.write_text(path.read_text().replace('"provenance"', '"made"'))
    assert read_metrics(path) == METRICS


def test_a_file_of_before_provenance_was_kept_is_read(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"run": tmp_path.name, "metrics": {"box_AP": 1.0}, "a_key_of_then": 1}))
    metrics = read_metrics(path)
    assert metrics.metrics == {"box_AP": 1.0}
    assert metrics.provenance.sources is None


RIGHT = {"run": METRICS.run, "metrics": {"box_AP": 12.5}, "history": [{"iteration": 8, "loss": 1.25}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "EOF"),
        ("[]", "object"),
        ("null", "object"),
        ("{}", "run: Field required"),
        (json.dumps(RIGHT)[:60], "EOF"),
        (json.dumps(RIGHT | {"metrics": {}}), "metrics: there are none"),
        (json.dumps({"run": METRICS.run}), "metrics: Field required"),
        (json.dumps(RIGHT | {"metrics": {"box_AP": "12.5"}}), "metrics.box_AP: .* number"),
        (json.dumps(RIGHT | {"metrics": {"box_AP": float("nan")}}), "metrics.box_AP: .* finite"),
        (json.dumps(RIGHT | {"metrics": {"box_AP": True}}), "metrics.box_AP: .* number"),
        (json.dumps(RIGHT | {"history": [{"loss": "1"}]}), "history.0.loss: .* number"),
        (json.dumps(RIGHT | {"dataset": {}}), "dataset.train: Field required"),
    ],
)
def test_a_damaged_file_is_one_sentence(path, content, words):
    path.write_text(content)
    with pytest.raises(UserError, match=rf"metrics.json is damaged: .*{words}.*; delete it and its run is measured again"):
        read_metrics(path)


def test_a_file_of_another_run_is_refused(tmp_path):
    path = tmp_path / "0123456789ac/metrics.json"
    path.parent.mkdir()
    path.write_text(json.dumps(RIGHT))
    with pytest.raises(
        UserError, match=r"metrics.json is of run 0123456789ab, not of its folder's; move it back, or delete it"
    ):
        read_metrics(path)
    assert not may_be_read(path)


def test_what_was_written_may_be_read(path):
    write_metrics(path, METRICS)
    assert may_be_read(path)
    path.write_text("{}")
    assert not may_be_read(path)


@pytest.mark.parametrize(
    ("recorded", "seconds"),
    [
        ({}, None),
        ({"seconds": 312.0, "training_seconds": 283.0}, 312.0),
        ({"seconds": 117.0, "training_seconds": 400.0, "resumed_from": "epoch_3.pth"}, 400.0),
        ({"seconds": 450.0, "training_seconds": 400.0, "resumed_from": "epoch_1.pth"}, 450.0),
        ({"seconds": 117.0, "resumed_from": "epoch_3.pth"}, 117.0),
    ],
)
def test_the_time_of_a_resumed_run_is_that_of_all_its_trainings(recorded, seconds):
    assert Provenance(**recorded).whole_seconds == seconds
