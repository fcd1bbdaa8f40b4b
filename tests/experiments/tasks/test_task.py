"""Every task of the registry has a file that provides what a task must."""

import pytest

from experiments.spec.fingerprint import task_file
from experiments.spec.metrics import METRICS, TASKS
from experiments.spec.run import Run
from experiments.spec.scale import Detector, load_scale
from experiments.spec.setting import Setting
from experiments.tasks.task import Task, load_task

PROVIDED = sorted(name for name in vars(Task) if not name.startswith("_"))
LOGGED = {"coco/bbox_mAP": 0.25, "coco/segm_mAP": 0.125, "coco/bbox_mAP_50": 0.5, "mIoU": 33.3, "mAcc": 44.4, "aAcc": 55.5}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_file_and_all_that_a_task_provides(name):
    assert task_file(name).exists()
    assert PROVIDED
    assert [member for member in PROVIDED if not hasattr(load_task(name), member)] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("detection", {"box_AP": 25.0}),
        ("instance_segmentation", {"box_AP": 25.0, "mask_AP": 12.5}),
        ("semantic_segmentation", {"mIoU": 33.3, "mean_accuracy": 44.4, "pixel_accuracy": 55.5}),
    ],
)
def test_validations_are_reported_in_percent_under_the_names_of_the_tables(name, expected):
    found = load_task(name).validation_metrics(LOGGED)
    assert found == expected
    assert set(found) <= {metric.name for metric in TASKS[name]} <= set(METRICS)


@pytest.mark.parametrize(
    ("detector", "task"),
    [
        ({}, "instance_segmentation"),
        ({"masks": False}, "detection"),
        ({"task": "detection"}, "detection"),
        ({"task": "instance_segmentation", "masks": False}, "instance_segmentation"),
    ],
)
def test_a_detector_names_its_task_or_its_masks_do(detector, task):
    assert Detector(base="mmdet::a.py", **detector).task_name == task


def test_a_task_is_part_of_a_runs_identity_only_where_it_is_named():
    demo = load_scale("demo")
    setting = Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone="resnet50", schedule="1x")
    named = demo.detectors["mask_rcnn"].replace(task="detection")
    other = demo.replace(detectors={**demo.detectors, "mask_rcnn": named})
    assert "task" not in Run(setting, demo, 0).spec["detector"]
    assert Run(setting, other, 0).spec["detector"]["task"] == "detection"
    assert Run(setting, other, 0).id != Run(setting, demo, 0).id


def test_a_task_without_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.spec.scale.TASKS", TASKS | {"depth": ()})
    with pytest.raises(ValueError, match=r"task 'depth' needs the file experiments/tasks/depth.py, which does not exist"):
        Detector(base="mmdet::a.py", task="depth")


def test_an_unknown_task_is_refused():
    with pytest.raises(
        ValueError, match="unknown task 'depth'; allowed: detection, instance_segmentation, semantic_segmentation"
    ):
        Detector(base="mmdet::a.py", task="depth")
