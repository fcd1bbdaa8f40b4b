"""Costs by setting, written and read."""

import pytest

from experiments.errors import UserError
from experiments.records.cost_files import (
    Counts,
    Measurement,
    Measurements,
    Speeds,
    read_costs,
    write_costs,
)
from experiments.records.run_status import RunReader

SPEEDS = Speeds(frames_per_second={"a": 2.5}, rounds={"a": [2.0, 3.0]}, machine="a machine", image=[800, 1333], repetitions=2)
COUNTS = Counts(counts={"a": {"flops": 1e12}})


def test_what_was_written_is_read(tmp_path):
    write_costs(tmp_path / "counts.json", COUNTS)
    write_costs(tmp_path / "speeds.json", SPEEDS)
    assert read_costs(tmp_path / "counts.json", Counts) == COUNTS
    assert read_costs(tmp_path / "speeds.json", Speeds) == SPEEDS
    reader = RunReader()
    assert reader.read(lambda path: read_costs(path, Measurements), tmp_path / "probe.json") is None
    assert reader.problems == [], "a missing file is no damage"
    measured = {"a": Measurement(seconds_per_image=0.5, steps=[1.0, 1.0, 1.0], model="FPN", batch=2)}
    write_costs(tmp_path / "probe.json", Measurements(measured))
    assert read_costs(tmp_path / "probe.json", Measurements).root == measured


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": {"seconds_per_image": -1}}', '{"a": {"seconds_per_image": "soon"}}', '{"a": {}}']
)
def test_a_damaged_file_of_measurements_is_one_sentence(tmp_path, content):
    path = tmp_path / "probe.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"probe.json is damaged or of an older version \(.*\): delete it and it is made again"):
        read_costs(path, Measurements)


def test_speeds_of_an_older_version_are_read_and_have_no_rounds(tmp_path):
    path = tmp_path / "speeds.json"
    path.write_text('{"frames_per_second": {"a": 2.5}, "machine": "m", "image": [1, 2], "repetitions": 4}')
    assert read_costs(path, Speeds).rounds == {}


@pytest.mark.parametrize("rounds", ["[2.0]", "[2.0, 3.0, 4.0]", "[2.0, 0.0]", "[2.0, NaN]", "2.0"])
def test_rounds_that_cannot_be_are_one_sentence(tmp_path, rounds):
    path = tmp_path / "speeds.json"
    of_one = (
        f'{{"frames_per_second": {{"a": 2.5}}, "rounds": {{"a": {rounds}}}, "machine": "m", "image": [1, 2], "repetitions": 2}}'
    )
    path.write_text(of_one)
    with pytest.raises(
        UserError, match=r"speeds.json is damaged or of an older version \(.*\): delete it and it is made again"
    ):
        read_costs(path, Speeds)


@pytest.mark.parametrize(
    "content",
    ['[{"flops": 1.0}]', '{"frames_per_second": [1.0], "machine": "m", "image": [1, 2], "repetitions": 4}', "", "{", "{}"],
)
@pytest.mark.parametrize("model", [Counts, Speeds])
def test_a_damaged_file_or_one_of_an_older_version_is_one_sentence(tmp_path, model, content):
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"costs.json is damaged or of an older version \(.*\): delete it and it is made again"):
        read_costs(path, model)
