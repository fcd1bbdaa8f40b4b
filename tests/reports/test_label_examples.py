"""Label maps of two rows: how an image scores, which images are chosen, what is painted."""

import gzip
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from pycocotools import mask as mask_api

from experiments.errors import UserError
from reports.label_examples import (
    COLOURS,
    OPACITY,
    WRONG,
    compare_label_maps,
    draw_labels,
    mean_iou,
    read_label_maps,
    read_truth,
)

IGNORED = 255
TRUTH = np.array([[0, 0, 1], [1, 2, IGNORED]], np.int16)


def encoded(labels):
    for label in np.unique(labels).tolist():
        mask = mask_api.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        yield label, {"size": mask["size"], "counts": mask["counts"].decode()}


def test_label_maps_are_read_as_they_were_kept(tmp_path):
    labels = np.array([[3, 0, 0], [3, 1, 0]], np.int16)
    entries = [{"image": "a", "label": label, "segmentation": mask} for label, mask in encoded(labels)]
    path = tmp_path / "predictions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(entries).encode()))
    assert (read_label_maps(path)["a"] == labels).all()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing"), (b"{", "is damaged"), (b'[{"image": "a"}]', "is damaged")]
)
def test_label_maps_that_cannot_be_read_end_in_one_sentence(content, words, tmp_path):
    path = tmp_path / "predictions.json.gz"
    if content is not None:
        path.write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=words):
        read_label_maps(path)


def test_a_missing_true_map_is_named(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    assert set(read_truth(tmp_path, {"a": TRUTH})) == {"a"}
    with pytest.raises(UserError, match="the label map of image b does not exist"):
        read_truth(tmp_path, {"b": TRUTH})


def test_an_image_scores_the_mean_over_its_classes_without_what_is_ignored():
    predicted = np.array([[0, 1, 1], [1, 2, 0]], np.int16)
    # 0: one of two; 1: two of three; 2: all; 3 neither predicted nor true.
    assert mean_iou(predicted, TRUTH, 4, IGNORED) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert mean_iou(predicted, np.full_like(TRUTH, IGNORED), 4, IGNORED) == 0


def test_images_of_greatest_gain_and_loss_are_chosen_among_those_with_enough_classes():
    truth = {name: TRUTH for name in "abcdefgh"} | {"plain": np.zeros_like(TRUTH)}
    wrong = np.zeros_like(TRUTH)
    right = {name: np.where(TRUTH == IGNORED, 0, TRUTH) for name in truth}
    baseline, row = right | {"a": wrong}, right | {"h": wrong, "plain": wrong + 1}
    examples = compare_label_maps(truth, [[baseline], [row]], 3, IGNORED)
    assert examples.groups["greatest gain"][0] == "a"
    assert examples.groups["greatest loss"][0] == "h"
    assert "plain" not in examples.gains
    assert examples.caption == "better on 12%, worse on 12%, same on 75% of 8 images with at least 3 classes"


def test_right_pixels_have_the_colour_of_their_class_and_wrong_ones_are_red():
    figure, panels = plt.subplots(1, 2)
    predicted = np.array([[0, 1, 1], [1, 2, 0]], np.int16)
    draw_labels(np.zeros((2, 3, 3), np.uint8), TRUTH, [predicted], IGNORED, panels)
    painted = np.asarray(panels[1].images[1].get_array())
    plt.close(figure)
    assert tuple(painted[0, 0]) == pytest.approx((*to_rgb(COLOURS[0]), OPACITY))
    assert tuple(painted[0, 1]) == pytest.approx((*to_rgb(WRONG), 1))
    assert painted[1, 2, 3] == 0
