"""Boxes by the rules of VOC and VisDrone: equal to mmdetection's and pycocotools' numbers, and exact on every resample."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import eval_map
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from experiments.bootstrap.resamples import draw_weights
from experiments.spec.metrics import PROTOCOLS
from experiments.tasks.average_precision import load
from experiments.tasks.breakdowns.protocols import RESAMPLED
from experiments.tasks.protocols import PRECISIONS

SIDE, CLASSES = 200, 3


def draw(rng, images=6, empty=False):
    """Annotations and detections that overlap much: objects that are ignored, objects found twice, scores that are equal."""
    annotations, detections = [], []
    for image in range(1, images + 1):
        for _ in range(0 if empty else rng.integers(0, 6)):
            x, y, width, height = (float(value) for value in rng.integers(1, 80, 4))
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": int(rng.integers(1, CLASSES + 1)),
                "bbox": [x, y, width, height], "area": width * height, "iscrowd": int(rng.random() < 0.25),
            })  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                moved = [x, y, width, height] + rng.integers(-8, 9, 4) * rng.random()
                box = [float(side) for side in (*moved[:2], *np.maximum(moved[2:], 1))]
                category = annotations[-1]["category_id"] if rng.random() < 0.8 else int(rng.integers(1, CLASSES + 1))
                score = float(rng.random())
                detections.append({"image_id": image, "category_id": category, "bbox": box, "score": score})
        for _ in range(rng.integers(0, 3)):
            box = [float(value) for value in rng.integers(1, 80, 4)]
            detections.append({"image_id": image, "category_id": 1, "bbox": box, "score": float(rng.random())})
    return annotations, detections


def write(folder, annotations, detections, images=6):
    content = {
        "images": [{"id": i + 1, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(CLASSES)],
    }
    files = folder / "annotations.json", folder / "detections.json"
    for file, what in zip(files, (content, detections), strict=True):
        file.write_text(json.dumps(what))
    return files


def corners(entries):
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def by_mmdetection(annotations, detections, threshold, images=6):
    """Area below the curve of each class."""
    found, wanted = [], []
    for image in range(1, images + 1):
        of_image = [entry for entry in detections if entry["image_id"] == image]
        per_class = [[entry for entry in of_image if entry["category_id"] == number + 1] for number in range(CLASSES)]
        found.append([
            np.hstack([corners(entries), np.array([entry["score"] for entry in entries]).reshape(-1, 1)]).astype(np.float64)
            for entries in per_class
        ])  # fmt: skip
        objects = [entry for entry in annotations if entry["image_id"] == image]
        regular, ignored = ([entry for entry in objects if entry["iscrowd"] == flag] for flag in (0, 1))
        wanted.append({
            "bboxes": corners(regular), "labels": np.array([entry["category_id"] - 1 for entry in regular], int),
            "bboxes_ignore": corners(ignored), "labels_ignore": np.array([e["category_id"] - 1 for e in ignored], int),
        })  # fmt: skip
    return [100 * float(of_class["ap"]) for of_class in eval_map(found, wanted, iou_thr=threshold, logger="silent")[1]]


def test_areas_are_mmdetections(tmp_path):
    annotations, detections = draw(np.random.default_rng(1), images=40)
    metrics = PRECISIONS["voc"](*write(tmp_path, annotations, detections, images=40))
    for ending, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        expected = np.mean(by_mmdetection(annotations, detections, threshold, images=40))
        assert metrics[f"box_VOC_{ending}"] == pytest.approx(expected, abs=1e-3)


def overlap(one, other):
    width, height = (max(min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]), 0) for i in (0, 1))
    return width * height / (one[2] * one[3] + other[2] * other[3] - width * height)


def by_the_development_kit(annotations, detections, category, threshold):
    """The loop of VOC's own evaluation, detection by detection; with 11 points, and the area below the curve."""
    objects = [{**entry, "seen": False} for entry in annotations if entry["category_id"] == category]
    total = sum(not entry["iscrowd"] for entry in objects)
    hits, mistakes, curve = 0, 0, []
    for found in sorted((d for d in detections if d["category_id"] == category), key=lambda d: (-d["score"], d["image_id"])):
        here = [entry for entry in objects if entry["image_id"] == found["image_id"]]
        best = max(here, key=lambda entry: overlap(entry["bbox"], found["bbox"]), default=None)
        if best is None or overlap(best["bbox"], found["bbox"]) <= threshold:
            mistakes += 1
        elif best["iscrowd"]:
            continue
        elif best["seen"]:
            mistakes += 1
        else:
            hits, best["seen"] = hits + 1, True
        curve.append((hits / total, hits / (hits + mistakes)))
    points = [max((p for r, p in curve if r >= recall), default=0.0) for recall in np.arange(0.0, 1.1, 0.1)]
    recalls = sorted({r for r, _ in curve if r > 0})
    steps = np.diff([0.0, *recalls])
    return 100 * sum(points) / 11, 100 * sum(
        step * max(p for r, p in curve if r >= recall) for step, recall in zip(steps, recalls, strict=True)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_voc_is_that_of_its_development_kit(tmp_path_factory, seed):
    annotations, detections = draw(np.random.default_rng(seed))
    metrics = PRECISIONS["voc"](*write(tmp_path_factory.mktemp("voc"), annotations, detections))
    classes = {entry["category_id"] for entry in annotations if not entry["iscrowd"]}
    if not classes:
        assert set(metrics.values()) == {None}
        return
    values = np.array([
        [by_the_development_kit(annotations, detections, category, threshold) for category in classes]
        for threshold in np.linspace(0.5, 0.95, 10)
    ])  # fmt: skip
    for place, name in enumerate(("VOC07", "VOC")):
        by_threshold = values[:, :, place].mean(axis=1)
        expected = {"AP": by_threshold.mean(), "AP50": by_threshold[0], "AP75": by_threshold[5]}
        for ending, value in expected.items():
            assert metrics[f"box_{name}_{ending}"] == pytest.approx(value, abs=1e-9)


def by_pycocotools(files, most, threshold=None, with_crowds=True):
    truth = coco.COCO(str(files[0]))
    if not with_crowds:
        truth.dataset["annotations"] = [entry for entry in truth.dataset["annotations"] if not entry["iscrowd"]]
        truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(str(files[1])), "bbox")
    evaluation.params.maxDets = [most]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    precision = precision if threshold is None else precision[threshold]
    return 100 * precision[precision > -1].mean()


def test_visdrone_is_pycocotools_with_its_limits(tmp_path):
    rng = np.random.default_rng(3)
    annotations, detections = draw(rng)
    # Of one class more than 100 in an image, the right ones last; some in an ignored region.
    for number in range(150):
        right = number >= 120
        box = [100.0 + number % 10, 100.0, 20.0, 20.0] if not right else [10.0 * (number - 120), 150.0, 9.0, 9.0]
        detections.append({"image_id": 2, "category_id": 2, "bbox": box, "score": 1 - number / 1000})
        if right and number % 2:
            annotations.append({
                "id": len(annotations) + 1, "image_id": 2, "category_id": 2, "bbox": box, "area": 81.0, "iscrowd": 0
            })  # fmt: skip
    annotations.append({
        "id": len(annotations) + 1, "image_id": 2, "category_id": 2, "bbox": [100, 90, 40, 40], "area": 1600, "iscrowd": 1
    })  # fmt: skip
    files = write(tmp_path, annotations, detections)
    found = PRECISIONS["visdrone"](*files)
    expected = {
        "box_VisDrone_AP": by_pycocotools(files, 500),
        "box_VisDrone_AP50": by_pycocotools(files, 500, 0),
        "box_VisDrone_AP75": by_pycocotools(files, 500, 5),
        "box_mmdet_VisDrone_AP": by_pycocotools(files, 100, with_crowds=False),
        "box_mmdet_VisDrone_AP50": by_pycocotools(files, 500, 0, with_crowds=False),
        "box_mmdet_VisDrone_AP75": by_pycocotools(files, 500, 5, with_crowds=False),
    }
    assert found == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 3) for value in found.values()}) == 6


@pytest.mark.parametrize("protocol", PRECISIONS)
def test_metrics_are_those_of_the_table_and_none_without_objects(tmp_path, protocol):
    annotations, detections = draw(np.random.default_rng(0), empty=True)
    metrics = PRECISIONS[protocol](*write(tmp_path, annotations, detections))
    assert metrics == {metric.name: None for metric in PROTOCOLS[protocol]}


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(PRECISIONS)), st.integers(0, 2**32 - 1))
def test_a_resample_is_the_measure_of_a_dataset_that_repeats_its_images(tmp_path_factory, protocol, seed):
    annotations, detections = draw(np.random.default_rng(seed))
    if not any(not entry["iscrowd"] for entry in annotations):
        return
    files = write(tmp_path_factory.mktemp("resample"), annotations, detections)
    truth, found = load(*files)
    weights = draw_weights(sorted(truth.imgs), 3)
    replicates = RESAMPLED[protocol](truth, found, weights)
    assert set(replicates) == {metric.name for metric in PROTOCOLS[protocol] if metric.is_tested} - {"box_VOC_AP"}
    for number, times in enumerate(weights):
        copies = [image + 1 for image, count in enumerate(times) for _ in range(count)]
        repeated = [
            [{**entry, "image_id": new + 1} for new, old in enumerate(copies) for entry in entries if entry["image_id"] == old]
            for entries in (annotations, detections)
        ]
        repeated[0] = [{**entry, "id": number + 1} for number, entry in enumerate(repeated[0])]
        if not any(not entry["iscrowd"] for entry in repeated[0]) or not repeated[1]:
            continue
        metrics = PRECISIONS[protocol](*write(tmp_path_factory.mktemp("copy"), *repeated, images=len(copies)))
        for name, values in replicates.items():
            assert values[number] == pytest.approx(metrics[name], abs=1e-9), (name, number)
