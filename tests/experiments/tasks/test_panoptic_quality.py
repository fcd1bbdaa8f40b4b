"""Panoptic quality equals an independent count with masks, on void, crowds, absent classes and split segments."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from experiments.tasks.panoptic_quality import counts_of_image, qualities, summarize
from experiments.tasks.segments import VOID, Segment, id_to_rgb

CLASSES = 3
ids = st.integers(0, 4)
grids = st.lists(ids, min_size=24, max_size=24)
labels = st.lists(st.integers(0, CLASSES - 1), min_size=4, max_size=4)
crowds = st.lists(st.booleans(), min_size=4, max_size=4)


def independent_counts(predicted, segments, truth, true_segments):
    """Matches by masks, in the words of the paper: unmatched predictions that lie mostly on void or a crowd are left out."""
    counts = np.zeros((4, CLASSES))
    masks = {key: predicted == key for key in segments if (predicted == key).any()}
    true_masks = {key: truth == key for key in true_segments if (truth == key).any()}
    void = truth == VOID
    hit = {}
    for key, mask in masks.items():
        for true_key, true_mask in true_masks.items():
            same = segments[key].label == true_segments[true_key].label
            iou = (mask & true_mask).sum() / ((mask | true_mask) & ~(mask & void)).sum()
            if same and not true_segments[true_key].is_crowd and iou > 0.5:
                hit[key] = (true_key, iou)
    for key, mask in masks.items():
        label = segments[key].label
        if key in hit:
            counts[:2, label] += hit[key][1], 1
            continue
        crowd = [k for k, s in true_segments.items() if s.is_crowd and s.label == label]
        unknown = void | (truth == crowd[-1]) if crowd else void
        if (mask & unknown).sum() <= 0.5 * mask.sum():
            counts[2, label] += 1
    found = {true_key for true_key, _ in hit.values()}
    for true_key in true_masks:
        if true_key not in found and not true_segments[true_key].is_crowd:
            counts[3, true_segments[true_key].label] += 1
    return counts


@given(grids, labels, grids, labels, crowds)
def test_counts_equal_those_of_masks(predicted, our_labels, truth, true_labels, are_crowds):
    segments = {key: Segment(label) for key, label in enumerate(our_labels, start=1)}
    true_segments = {
        key: Segment(label, crowd) for key, (label, crowd) in enumerate(zip(true_labels, are_crowds, strict=True), start=1)
    }
    maps = np.array(predicted).reshape(4, 6), np.array(truth).reshape(4, 6)
    found = counts_of_image(maps[0], segments, maps[1], true_segments, CLASSES)
    np.testing.assert_allclose(found, independent_counts(maps[0], segments, maps[1], true_segments))


def test_a_prediction_on_void_or_on_a_crowd_of_its_class_is_no_mistake():
    truth = np.array([[0, 0, 1, 1], [2, 2, 2, 2]])
    predicted = np.array([[5, 5, 5, 0], [6, 6, 7, 7]])
    segments = {5: Segment(0), 6: Segment(1), 7: Segment(2)}
    true_segments = {1: Segment(0), 2: Segment(1, is_crowd=True)}
    counts = counts_of_image(predicted, segments, truth, true_segments, CLASSES)
    # 5 lies mostly on void, 6 on the crowd; 7 on the crowd of another class.
    assert counts[2].tolist() == [0, 0, 1]
    assert counts[3].tolist() == [1, 0, 0]


def test_qualities_are_those_of_the_paper():
    counts = np.array([[1.5, 0, 0], [2, 0, 0], [1, 1, 0], [1, 0, 0]])
    found = qualities(counts)
    assert found["PQ"][:2] == pytest.approx([100 * 1.5 / 3, 0])
    assert found["SQ"][:2] == pytest.approx([75, 0])
    assert found["RQ"][:2] == pytest.approx([100 * 2 / 3, 0])
    assert np.isnan([values[2] for values in found.values()]).all()
    assert found["PQ"][0] == pytest.approx(found["SQ"][0] * found["RQ"][0] / 100)


def test_means_are_over_classes_that_occur_for_things_and_stuff_apart():
    counts = np.zeros((4, 4))
    counts[:2, 0], counts[2, 1], counts[:2, 2] = (0.8, 1), 1, (0.6, 1)
    found = summarize(counts, things=2)
    assert found["PQ"] == pytest.approx((80 + 0 + 60) / 3)
    assert (found["PQ_things"], found["PQ_stuff"]) == (pytest.approx(40), pytest.approx(60))
    assert np.isnan(summarize(np.zeros((4, 4)), things=2)["PQ"])


def test_sums_over_images_have_the_shape_of_the_resamples():
    counts = np.random.default_rng(0).integers(0, 9, (5, 4, CLASSES)).astype(float)
    together = summarize(counts, things=1)
    for number in range(5):
        assert together["PQ"][number] == pytest.approx(summarize(counts[number], things=1)["PQ"], nan_ok=True)


@pytest.mark.arbiter
@given(grids, labels, grids, labels, crowds)
def test_qualities_equal_those_of_panopticapi(predicted, our_labels, truth, true_labels, are_crowds):
    from panopticapi import evaluation as api

    maps = np.array(predicted).reshape(4, 6), np.array(truth).reshape(4, 6)
    ids = [set(np.unique(found).tolist()) - {VOID} for found in maps]
    segments = {key: Segment(label) for key, label in enumerate(our_labels, start=1) if key in ids[0]}
    true_segments = {
        key: Segment(label, crowd)
        for key, (label, crowd) in enumerate(zip(true_labels, are_crowds, strict=True), start=1)
        if key in ids[1]
    }
    assume(set(segments) == ids[0] and set(true_segments) == ids[1] and segments and true_segments)
    counts = counts_of_image(maps[0], segments, maps[1], true_segments, CLASSES)
    with TemporaryDirectory() as name:
        folder = Path(name)
        entries = []
        for kind, identifiers, found in zip(("ours", "true"), maps, (segments, true_segments), strict=True):
            (folder / kind).mkdir()
            Image.fromarray(id_to_rgb(identifiers)).save(folder / kind / "0.png")
            of_image = [
                {"id": key, "category_id": one.label, "iscrowd": int(one.is_crowd), "area": int((identifiers == key).sum())}
                for key, one in found.items()
            ]
            entries.append({"image_id": 0, "file_name": "0.png", "segments_info": of_image})
        categories = {label: {"isthing": int(label < 2)} for label in range(CLASSES)}
        statistics = api.pq_compute_single_core(0, [entries[::-1]], folder / "true", folder / "ours", categories)
    for label in range(CLASSES):
        theirs = statistics[label]
        assert counts[:, label].tolist() == pytest.approx([theirs.iou, theirs.tp, theirs.fp, theirs.fn])
    if any(statistics[label].tp + statistics[label].fp + statistics[label].fn for label in range(CLASSES)):
        average, _ = statistics.pq_average(categories, isthing=None)
        found = summarize(counts, things=2)
        assert [float(found[key]) for key in ("PQ", "SQ", "RQ")] == pytest.approx(
            [100 * average[key] for key in ("pq", "sq", "rq")]
        )
