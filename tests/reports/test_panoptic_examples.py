"""Segments of two rows: how an image scores, which images are chosen, what is painted."""

import gzip
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from pycocotools import mask as mask_api

from experiments.errors import UserError
from experiments.tasks.segments import Segment, SegmentedImage
from reports.panoptic_examples import (
    COLOURS,
    WRONG,
    Segmentation,
    compare_segmentations,
    draw_segments,
    quality_of_image,
    read_segmentations,
    read_true_segmentations,
)

# Two things of class 0, a crowd of it, stuff of class 1, and a pixel without a segment.
TRUTH = Segmentation(
    np.array([[1, 1, 2, 2], [1, 1, 2, 2], [4, 4, 3, 3], [4, 4, 3, 0]]),
    {1: Segment(0), 2: Segment(0), 3: Segment(1), 4: Segment(0, is_crowd=True)},
)


def encoded(mask):
    found = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": found["size"], "counts": found["counts"].decode()}


def test_segments_are_read_as_they_were_kept(tmp_path):
    masks = [(TRUTH.identifiers == number, segment.label) for number, segment in TRUTH.segments.items()]
    entries = [{"image_id": 7, "segment": label, "segmentation": encoded(mask)} for mask, label in masks]
    path = tmp_path / "predictions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(entries).encode()))
    found = read_segmentations(path)[7]
    assert (found.identifiers == TRUTH.identifiers).all()
    assert [segment.label for segment in found.segments.values()] == [0, 0, 1, 0]


def test_segments_that_were_not_kept_are_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        read_segmentations(tmp_path / "predictions.json.gz")


def test_a_missing_true_map_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a.png: does not exist: put it back to draw examples"):
        read_true_segmentations({1: SegmentedImage("a.png", {})}, tmp_path)


def test_the_quality_of_an_image_counts_all_its_segments():
    assert quality_of_image(TRUTH, TRUTH, 2) == 1.0
    assert quality_of_image(None, TRUTH, 2) == 0.0
    # One of two things is found, at 3 of 4 pixels; the stuff is found whole; one segment is missed.
    ours = Segmentation(np.where(TRUTH.identifiers == 3, 3, 0), {1: Segment(0), 3: Segment(1)})
    ours.identifiers[0, :2] = ours.identifiers[1, 0] = 1
    assert quality_of_image(ours, TRUTH, 2) == pytest.approx((0.75 + 1) / (2 + 0.5))


def test_images_with_enough_segments_are_compared():
    empty = Segmentation(np.zeros_like(TRUTH.identifiers), {})
    truth = {1: TRUTH, 2: TRUTH, 3: Segmentation(TRUTH.identifiers, {3: Segment(1)})}
    examples = compare_segmentations(truth, [[{1: empty, 2: TRUTH}], [{1: TRUTH, 2: empty}]], 2)
    assert examples.gains == {1: 1.0, 2: -1.0}
    assert "of 2 images with at least 3 segments" in examples.caption


def test_found_segments_have_the_colour_of_the_truth_and_others_are_red():
    ours = Segmentation(np.where(TRUTH.identifiers == 1, 9, 8), {9: Segment(0), 8: Segment(0)})
    figure, panels = plt.subplots(1, 2)
    draw_segments(np.zeros((4, 4, 3), np.uint8), TRUTH, [ours], panels)
    painted = panels[1].get_images()[1].get_array()
    assert tuple(painted[0, 0, :3]) == pytest.approx(to_rgb(COLOURS[0]))
    assert tuple(painted[0, 2, :3]) == pytest.approx(to_rgb(WRONG))
    # What belongs to no segment is not painted.
    assert painted[3, 3, 3] == 0
    plt.close(figure)
