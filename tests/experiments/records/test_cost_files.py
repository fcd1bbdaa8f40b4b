"""Costs by setting, written and read."""

import pytest

from experiments.errors import UserError
from experiments.records.cost_files import Counts, Speeds, read_counts, read_speeds, write_costs

SPEEDS = Speeds(frames_per_second={"a": 2.5}, machine="a machine", image=[800, 1333], repetitions=4)
COUNTS = Counts(counts={"a": {"flops": 1e12}})


def test_what_was_written_is_read(tmp_path):
    write_costs(tmp_path / "counts.json", COUNTS)
    write_costs(tmp_path / "speeds.json", SPEEDS)
    assert read_counts(tmp_path / "counts.json") == COUNTS
    assert read_speeds(tmp_path / "speeds.json") == SPEEDS


@pytest.mark.parametrize(
    "content",
    ['[{"flops": 1.0}]', '{"frames_per_second": [1.0], "machine": "m", "image": [1, 2], "repetitions": 4}', "", "{", "{}"],
)
@pytest.mark.parametrize("read", [read_counts, read_speeds])
def test_a_damaged_file_or_one_of_an_older_version_is_one_sentence(tmp_path, read, content):
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"costs.json is damaged or of an older version \(.*\): delete it and it is made again"):
        read(path)
