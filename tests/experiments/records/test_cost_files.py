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

SPEEDS = Speeds(frames_per_second={"a": 2.5}, machine="a machine", image=[800, 1333], repetitions=4)
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
