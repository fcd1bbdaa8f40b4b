"""The benchmark of evaluation draws a set like a detector's, measures both tools and compares their numbers."""

import json

import pandas as pd
import pytest

from experiments.benchmarks import evaluation


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return evaluation.draw_set(tmp_path_factory.mktemp("set"), images=12, seed=3)


def test_the_set_is_as_large_as_a_detectors_and_the_same_each_time(drawn, tmp_path):
    truth, found = (json.loads(path.read_text()) for path in drawn)
    assert 5 < len(truth["annotations"]) / 12 < 9
    assert 85 < len(found) / 12 <= 100
    assert len({detection["category_id"] for detection in found}) > 40
    assert all(side >= 2 for annotation in truth["annotations"] for side in annotation["bbox"][2:])
    again = evaluation.draw_set(tmp_path, images=12, seed=3)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in drawn]


def test_ratios_are_of_medians_and_both_kinds_are_added():
    rows = [
        {"round": number, "kind": kind, "tool": tool, "load": 1.0, "evaluate": seconds * (number + 1), "numbers": [0.0]}
        for number in range(3)
        for kind in ("box", "mask")
        for tool, seconds in (("pycocotools", 6.0), ("faster-coco-eval", 2.0))
    ]
    table = evaluation.ratios(pd.DataFrame(rows)).set_index(["kind", "step"])
    assert table.loc[("box", "evaluate")].tolist() == [12, 4, 3]
    assert table.loc[("box and mask", "evaluate")].tolist() == [24, 8, 3]
    assert table.loc[("mask", "total")].tolist() == [13, 5, 13 / 5]


def test_a_difference_in_one_number_is_seen():
    rows = [
        {"kind": "box", "numbers": [0.5, -1.0]},
        {"kind": "box", "numbers": [0.5, -1.0]},
        {"kind": "mask", "numbers": [0.1, 0.2]},
    ]
    assert evaluation.largest_difference(pd.DataFrame(rows)) == 0
    rows[1]["numbers"] = [0.5, -0.75]
    assert evaluation.largest_difference(pd.DataFrame(rows)) == 0.25


def test_it_prints_ratios_and_the_numbers_agree(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evaluation", "--images", "4", "--rounds", "1"])
    evaluation.main()
    printed = capsys.readouterr()
    assert "| box and mask | total" in printed.out
    assert "largest difference in any of the 12 numbers" in printed.out
    assert "measuring: 100%" in printed.err


def test_tools_that_differ_are_an_error(monkeypatch):
    monkeypatch.setattr("sys.argv", ["evaluation", "--images", "1", "--rounds", "1"])
    monkeypatch.setattr(evaluation, "largest_difference", lambda _: 2e-6)
    with pytest.raises(SystemExit, match=r"the tools differ by 2\.0e-06; allowed: 1e-06"):
        evaluation.main()
