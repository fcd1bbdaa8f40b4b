"""Average precision on resamples, against the evaluation of datasets in which the images really stand several times."""

import copy
from collections import defaultdict

import numpy as np
import pytest
from faster_coco_eval import COCO
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.bootstrap.average_precision import resampled_precisions, summarize
from experiments.bootstrap.matching import match_classes
from experiments.bootstrap.resamples import draw_weights
from experiments.spec.metrics import AVERAGE_PRECISIONS
from experiments.tasks import average_precision

SIDE, SIZES = 64, (8, 24)
# Scores that are equal in different images; in one image they would make the order of copies arbitrary.
SCORES = st.integers(1, 20)


@st.composite
def shapes(draw, least=2):
    x, y = draw(st.integers(0, SIDE - 8)), draw(st.integers(0, SIDE - 8))
    width, height = draw(st.integers(least, SIDE - x)), draw(st.integers(least, SIDE - y))
    return [float(x), float(y), float(width), float(height)]


@st.composite
def moved(draw, box):
    """A box nearby."""
    x, y, width, height = box
    by = st.integers(-3, 3)
    return [max(0.0, x + draw(by)), max(0.0, y + draw(by)), max(1.0, width + draw(by)), max(1.0, height + draw(by))]


@st.composite
def datasets(draw):
    """Annotations and detections of a few images: crowds, missing classes, images without objects, equal scores."""
    images, classes = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    annotations, found = [], []
    for image in range(1, images + 1):
        used = defaultdict(set)
        for _ in range(draw(st.integers(0, 4))):
            box, category = draw(shapes()), draw(st.integers(1, classes))
            crowd = draw(st.integers(0, 9)) == 0
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box, "iscrowd": int(crowd)}
            )
            for near in draw(st.lists(moved(box), max_size=2)):
                detected_as = category if draw(st.integers(0, 5)) else draw(st.integers(1, classes))
                score = draw(SCORES.filter(lambda score, seen=used[detected_as]: score not in seen))
                used[detected_as].add(score)
                found.append({"image_id": image, "category_id": detected_as, "bbox": near, "score": score / 20})
    return images, classes, annotations, found


def polygon(box):
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x + width / 3, y + height]]


def as_coco(kind, images, classes, annotations, found):
    """Annotations, and detections of a kind, loaded."""
    truth = {
        "images": [{"id": image, "width": SIDE, "height": SIDE, "file_name": f"{image}.png"} for image in range(1, images + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
        "annotations": [
            {**entry, "area": entry["bbox"][2] * entry["bbox"][3], "segmentation": polygon(entry["bbox"])}
            for entry in annotations
        ],
    }
    loaded = COCO(copy.deepcopy(truth))
    if kind == "mask":
        for entry in truth["annotations"]:
            if entry["iscrowd"]:
                entry["segmentation"] = loaded.annToRLE(entry)
        loaded = COCO(copy.deepcopy(truth))
        found = [
            {key: value for key, value in entry.items() if key != "bbox"}
            | {"segmentation": loaded.annToRLE({"image_id": entry["image_id"], "segmentation": polygon(entry["bbox"])})}
            for entry in found
        ]
    return loaded, loaded.loadRes(copy.deepcopy(found))


def duplicated(weights, images, annotations, found):
    """A dataset in which every image stands as often as its weight says; copies stand beside one another."""
    copies, number = {}, 0
    for image in range(1, images + 1):
        copies[image] = list(range(number + 1, number + 1 + weights[image - 1]))
        number += weights[image - 1]
    objects = [{**entry, "image_id": at} for entry in annotations for at in copies[entry["image_id"]]]
    return (
        number,
        [{**entry, "id": index} for index, entry in enumerate(objects, start=1)],
        [{**entry, "image_id": at} for entry in found for at in copies[entry["image_id"]]],
    )


@pytest.mark.parametrize("kind", ["box", "mask"])
@settings(max_examples=25, deadline=None)
@given(dataset=datasets())
def test_resamples_have_the_precision_of_really_duplicated_images(kind, dataset):
    images, classes, annotations, found = dataset
    if not annotations or not found:
        return
    weights = draw_weights(range(images), replicates=4)
    matches = match_classes(*as_coco(kind, images, classes, annotations, found), kind, SIZES)
    measured = summarize(resampled_precisions(matches, weights))
    for index, line in enumerate(weights):
        number, objects, detections = duplicated(line, images, annotations, found)
        if not objects or not detections:
            continue
        truth, loaded = as_coco(kind, number, classes, objects, detections)
        expected = average_precision.summarize(truth, loaded, kind, SIZES)
        for name, value in zip(AVERAGE_PRECISIONS, expected, strict=False):
            here = measured[name][index]
            assert np.isnan(here) if value < 0 else here == pytest.approx(100 * value, abs=1e-9), (name, index)


def test_a_class_without_detections_counts_as_missed_and_one_without_objects_not_at_all():
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4.0, 4.0, 30.0, 30.0], "iscrowd": 0}]
    annotations.append({**annotations[0], "id": 2, "category_id": 2})
    found = [{"image_id": 1, "category_id": 1, "bbox": [4.0, 4.0, 30.0, 30.0], "score": 0.5}]
    matches = match_classes(*as_coco("box", 2, 3, annotations, found), "box", SIZES)
    of_dataset = {
        name: values[0] for name, values in summarize(resampled_precisions(matches, draw_weights(range(2), 0))).items()
    }
    assert of_dataset["AP"] == of_dataset["APL"] == pytest.approx(50)
    assert np.isnan(of_dataset["APS"])
