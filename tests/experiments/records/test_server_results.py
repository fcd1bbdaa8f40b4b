"""Answers of the evaluation server: read, checked, and only where they belong."""

import json
import re
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.paths import SERVER_RESULTS
from experiments.records.server_results import read_answer
from experiments.workflow.grid import Grid

# As COCO's evaluation server prints it.
STATISTICS = {
    "AP": 0.366, "AP_50": 0.593, "AP_75": 0.391, "AP_small": 0.198, "AP_medium": 0.393, "AP_large": 0.48,
    "AR_max_1": 0.305, "AR_max_10": 0.47, "AR_max_100": 0.491, "AR_small": 0.288, "AR_medium": 0.523, "AR_large": 0.64,
}  # fmt: skip
COCO = {"studies": "a2fpn", "scale": "coco", "seeds": 0, "data_root": "/somewhere"}


def write(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_fractions_become_percent_under_the_tables_names(tmp_path):
    found = read_answer(write(tmp_path / "a.json", {"segm": STATISTICS}))
    assert found == pytest.approx(
        {
            "test_mask_AP": 36.6, "test_mask_AP50": 59.3, "test_mask_AP75": 39.1,
            "test_mask_APS": 19.8, "test_mask_APM": 39.3, "test_mask_APL": 48.0,
        }
    )  # fmt: skip
    assert set(read_answer(write(tmp_path / "b.json", {"segm": STATISTICS, "bbox": STATISTICS}))) > set(found)
    assert read_answer(tmp_path / "none.json") == {}


def test_the_examples_of_the_documentation_are_answers(tmp_path):
    examples = re.findall(r"```json\n(.*?)```", (SERVER_RESULTS / "README.md").read_text(), re.DOTALL)
    of_coco, of_cityscapes = (read_answer(write(tmp_path / "a.json", json.loads(example))) for example in examples)
    assert of_coco["test_box_AP"] == pytest.approx(40.2)
    assert of_cityscapes == pytest.approx(
        {"test_mIoU": 80.1, "test_iIoU": 61.3, "test_category_IoU": 90.6, "test_category_iIoU": 78.5}
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"box": STATISTICS}, ["unknown key 'box'", "bbox, segm", "labels"]),
        ({"labels": {"averageScoreClasses": 80.1}}, ["labels.averageScoreClasses", "80.1", "fraction from 0 to 1"]),
        ({"labels": {"averageScoreClasses": 0.8}}, ["labels.averageScoreInstClasses"]),
        ({"bbox": {**STATISTICS, "AP": 36.6}}, ["bbox.AP", "36.6", "fraction from 0 to 1"]),
        ({"bbox": {**STATISTICS, "AP": -1}}, ["bbox.AP", "-1", "fraction"]),
        ({"bbox": {**STATISTICS, "AP": True}}, ["bbox.AP", "fraction"]),
        ({"bbox": {**STATISTICS, "AP": "0.366"}}, ["bbox.AP", "fraction"]),
        ({"bbox": {**STATISTICS, "AP50": 0.5}}, ["bbox", "unknown key 'AP50'", "AP_50"]),
        ({"bbox": {"AP": 0.5}}, ["bbox.AP_50"]),
        ({}, ["no answer", "'bbox', 'segm'"]),
    ],
)
def test_a_wrong_answer_is_one_sentence_with_file_and_key(tmp_path, content, words):
    with pytest.raises(UserError) as error:
        read_answer(write(tmp_path / "0123456789ab.json", content))
    assert "\n" not in str(error.value)
    for word in ["0123456789ab.json", *words]:
        assert word in str(error.value), str(error.value)


def test_an_answer_may_belong_to_a_run_of_another_study_but_not_to_none(tmp_path, monkeypatch):
    other = next(iter(Grid({**COCO, "studies": "afa"}).runs))
    monkeypatch.setattr("experiments.workflow.grid.SERVER_RESULTS", tmp_path)
    write(tmp_path / f"{other}.json", {"segm": STATISTICS})
    Grid(COCO)
    write(tmp_path / "0123456789ab.json", {"segm": STATISTICS})
    with pytest.raises(UserError, match=r"0123456789ab.json: no run has this id at scale coco with seeds 0"):
        Grid(COCO)
    Grid({**COCO, "scale": "demo"})


def test_results_in_the_folder_of_before_are_refused_with_the_new_place(tmp_path, monkeypatch):
    (tmp_path / "0123456789ab.json").write_text("{}")
    monkeypatch.setattr("experiments.workflow.grid.FORMER_SERVER_RESULTS", tmp_path)
    with pytest.raises(UserError, match=r"0123456789ab.json: .* lie in experiments/evaluation_server/; move the files there"):
        Grid({"studies": "a2fpn", "scale": "coco", "seeds": 0, "data_root": "/somewhere"})
