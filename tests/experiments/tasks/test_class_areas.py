"""Areas of classes and the metrics made of them equal an independent count, and mmsegmentation's own."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.evaluation import IoUMetric
from PIL import Image

from experiments.bootstrap.resamples import draw_weights
from experiments.tasks.breakdowns.semantic_segmentation import break_down
from experiments.tasks.class_areas import areas_of_image, intersections_over_union, summarize
from experiments.tasks.true_label_maps import TrueLabelMaps

CLASSES, IGNORED = 4, 255
labels = st.sampled_from([0, 1, 2, 3])
maps = st.lists(
    st.lists(st.tuples(labels, st.sampled_from([0, 1, 2, 3, IGNORED])), min_size=6, max_size=6), min_size=1, max_size=4
)


def counted_one_by_one(images):
    """Intersection over union of each class and accuracies, in percent, from single pixels."""
    pixels = [pair for image in images for pair in image if pair[1] != IGNORED]
    ious, accuracies = [], []
    for label in range(CLASSES):
        common = sum(pair == (label, label) for pair in pixels)
        either = sum(label in pair for pair in pixels)
        true = sum(truth == label for _, truth in pixels)
        ious += [100 * common / either] if either else []
        accuracies += [100 * common / true] if true else []
    hits = sum(predicted == truth for predicted, truth in pixels)
    mean = [sum(values) / len(values) if values else float("nan") for values in (ious, accuracies)]
    return {"mIoU": mean[0], "mean_accuracy": mean[1], "pixel_accuracy": 100 * hits / len(pixels) if pixels else float("nan")}


def areas(images):
    return [
        areas_of_image(*(np.array(part, np.uint8).reshape(2, 3) for part in zip(*image, strict=True)), CLASSES, IGNORED)
        for image in images
    ]


@given(maps)
def test_metrics_equal_a_count_of_single_pixels(images):
    found, expected = summarize(np.sum(areas(images), axis=0)), counted_one_by_one(images)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


@given(maps)
def test_metrics_equal_mmsegmentations_before_it_rounds(images):
    results = [
        IoUMetric.intersect_and_union(
            *(torch.tensor(part, dtype=torch.uint8).view(2, 3) for part in zip(*image, strict=True)), CLASSES, IGNORED
        )
        for image in images
    ]
    totals = [sum(part) for part in zip(*results, strict=True)]
    theirs = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])
    ours = summarize(np.sum(areas(images), axis=0))
    with np.errstate(all="ignore"):
        for name, key in {"mIoU": "IoU", "mean_accuracy": "Acc", "pixel_accuracy": "aAcc"}.items():
            values = theirs[key][~np.isnan(theirs[key])]
            expected = 100 * values.mean() if values.size else np.nan
            np.testing.assert_allclose(ours[name], expected, rtol=1e-5, err_msg=name)


def test_a_class_that_is_neither_predicted_nor_true_is_not_a_zero():
    image = areas_of_image(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]), CLASSES, IGNORED)
    ious = intersections_over_union(image)
    assert ious[:2] == pytest.approx([50, 50])
    assert np.isnan(ious[2:]).all()
    assert summarize(image)["mIoU"] == pytest.approx(50)


def test_nothing_is_measured_where_all_is_ignored():
    image = areas_of_image(np.zeros((2, 2), int), np.full((2, 2), IGNORED), CLASSES, IGNORED)
    assert image.sum() == 0
    assert all(np.isnan(value) for value in summarize(image).values())


def write_map(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(folder / f"{name}.png")


def test_maps_that_count_from_1_give_the_same_areas_as_maps_that_count_from_0(tmp_path):
    random = np.random.default_rng(0)
    predicted, truth = random.integers(0, CLASSES, (2, 5, 7))
    for first in (0, 1):
        write_map(tmp_path / f"predicted{first}", "a", predicted + first)
        write_map(tmp_path / f"true{first}", "a", np.where(truth == 3, IGNORED if not first else 0, truth + first))
    from_0, from_1 = (
        TrueLabelMaps(tmp_path / f"true{first}", ".jpg", ".png", CLASSES, IGNORED, bool(first)).read_areas(
            tmp_path / f"predicted{first}"
        )
        for first in (0, 1)
    )
    assert (from_0["a"]["mIoU"] == from_1["a"]["mIoU"]).all()
    breakdown = break_down(from_1, "abcd", tmp_path / "predicted1", tmp_path / "kept.json", zero_is_ignored=True)
    entries = json.loads(breakdown.predictions.read_text())
    assert {entry["label"] for entry in entries} == set(predicted.ravel().tolist())


def test_resamples_equal_measuring_really_duplicated_images(tmp_path):
    random = np.random.default_rng(0)
    predictions, truths = tmp_path / "predicted", tmp_path / "true"
    images = {f"image_{number}": random.integers(0, CLASSES, (2, 5, 7)) for number in range(6)}
    for name, (predicted, truth) in images.items():
        write_map(predictions, name, predicted)
        write_map(truths / "city", name, np.where(random.random(truth.shape) < 0.1, IGNORED, truth))
    found = TrueLabelMaps(truths, ".jpg", ".png", CLASSES, IGNORED).read_areas(predictions)
    breakdown = break_down(found, "abcd", predictions, tmp_path / "predictions.json")
    for drawn, value in list(zip(draw_weights(found), breakdown.replicates["mIoU"], strict=True))[:20]:
        repeated = [found[name]["mIoU"] for name, times in zip(found, drawn, strict=True) for _ in range(times)]
        assert value == pytest.approx(summarize(np.sum(repeated, axis=0))["mIoU"], rel=1e-12)
    assert set(breakdown.classes) == set("abcd")
