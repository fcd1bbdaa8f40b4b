"""Average precision on made-up detections whose value is known."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from experiments.evaluate import average_precision

BOXES = {1: [2, 2, 6, 6], 2: [10, 10, 20, 20], 3: [0, 0, 60, 60]}


@pytest.fixture
def truth(tmp_path):
    annotations = [
        {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": rle(box),
        }
        for number, box in BOXES.items()
    ]
    images = [{"id": number, "height": 64, "width": 64, "file_name": "x"} for number in BOXES]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    return path


def rle(box):
    mask = np.zeros((64, 64), np.uint8, order="F")
    left, top, width, height = box
    mask[top : top + height, left : left + width] = 1
    encoded = mask_utils.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def detections(tmp_path, boxes):
    path = tmp_path / "detections.json"
    content = [
        {"image_id": n, "category_id": 1, "bbox": box, "score": 0.9, "segmentation": rle(box)} for n, box in boxes.items()
    ]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_perfect_detections_have_100_percent(truth, tmp_path, kind):
    metrics = average_precision(truth, detections(tmp_path, BOXES), kind, (8, 32))
    assert metrics == pytest.approx({f"{kind}_{name}": 100.0 for name in ("AP", "AP50", "AP75", "APS", "APM", "APL")})


def test_no_detections_have_0_percent(truth, tmp_path):
    assert average_precision(truth, detections(tmp_path, {}), "box", (8, 32))["box_AP"] == 0


def test_object_sizes_split_the_objects(truth, tmp_path):
    found = {n: box for n, box in BOXES.items() if n != 1}
    metrics = average_precision(truth, detections(tmp_path, found), "box", (8, 32))
    assert (metrics["box_APS"], metrics["box_APM"], metrics["box_APL"]) == pytest.approx((0, 100, 100))


def test_a_size_without_objects_has_no_value(truth, tmp_path):
    assert average_precision(truth, detections(tmp_path, BOXES), "box", (1, 2))["box_APS"] is None


def test_two_of_three_found_is_67_of_101_recall_points(truth, tmp_path):
    found = {n: box for n, box in BOXES.items() if n != 3}
    assert average_precision(truth, detections(tmp_path, found), "box")["box_AP"] == pytest.approx(100 * 67 / 101)
