"""Transforms of albumentations repeat themselves, and move boxes with what is in them."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.utils import register_all_modules

from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from experiments.tasks import seeded_albu
from experiments.tasks.task import load_task

SIDE = 96
MOVED = [{"type": "Affine", "translate_percent": {"x": (-0.3, 0.3), "y": (-0.3, 0.3)}, "p": 1.0}]


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_all_modules()


def options(transforms=None):
    run = Run(load_study("a3fpn").settings["visdrone_fpn"], load_scale("visdrone"), 0)
    step = next(step for step in load_task("detection").train_dataset(run)["pipeline"] if step["type"] == "SeededAlbu")
    return {**step, "transforms": transforms or step["transforms"]}


def image_with(boxes):
    """Black, but for boxes, each of a grey of its own."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = 100 + 50 * number
    return {
        "img": image,
        "img_shape": (SIDE, SIDE),
        "gt_bboxes": HorizontalBoxes(np.array(boxes, np.float32)),
        "gt_bboxes_labels": np.arange(len(boxes)),
        "gt_ignore_flags": np.zeros(len(boxes), bool),
    }


@pytest.mark.arbiter
def test_a_seed_gives_the_same_images_and_another_gives_others():
    def series(seed):
        np.random.seed(seed)
        transform = TRANSFORMS.build(options())
        return [transform(image_with([(10, 10, 50, 40), (60, 60, 80, 90)]))["img"] for _ in range(8)]

    assert np.array_equal(series(0), series(0))
    assert not np.array_equal(series(0), series(1))


@pytest.mark.arbiter
def test_boxes_move_with_their_content_and_leave_with_it():
    transform, lost = TRANSFORMS.build(options(MOVED)), 0
    for seed in range(40):
        np.random.seed(seed)
        result = transform(image_with([(0, 40, 16, 56), (60, 30, 80, 60)]))
        if result is None:
            continue
        lost += len(result["gt_bboxes_labels"]) == 1
        for box, label in zip(result["gt_bboxes"].tensor.numpy(), result["gt_bboxes_labels"], strict=True):
            left, top, right, bottom = box.round().astype(int)
            inside = result["img"][top + 1 : max(bottom - 1, 1), left + 1 : max(right - 1, 1)]
            assert np.abs(inside.astype(int) - (100 + 50 * label)).max(initial=0) <= 1
        assert len(result["gt_ignore_flags"]) == len(result["gt_bboxes_labels"]) == len(result["gt_bboxes"])
    assert lost, "the box at the edge has left some images"


@pytest.mark.arbiter
def test_an_image_without_boxes_is_left_out():
    np.random.seed(0)
    far = [{**MOVED[0], "translate_percent": 1.0}]
    assert TRANSFORMS.build(options(far))(image_with([(0, 40, 16, 56)])) is None


def test_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(seeded_albu, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"albumentations, which is not installed: python -m pip install -r envs/augmentations\.txt"
    ):
        TRANSFORMS.build(options())


def test_detection_alone_does_without():
    assert "albumentations" not in sys.modules or find_spec("albumentations")
