"""Answers of two rows on images of one label: what is kept is read, images are chosen by rule, answers stand under them."""

import gzip
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.errors import UserError
from reports.class_examples import RIGHT, WRONG, Answer, compare_answers, draw_answers, read_answers

CLASSES = ["disc", "square", "star"]


def answer(image, label, *best):
    return Answer(image=image, label=label, best=list(best))


def by_image(*answers):
    return {each.image: each for each in answers}


def test_answers_are_read_as_they_were_kept(tmp_path):
    path = tmp_path / "predictions.json.gz"
    path.write_bytes(gzip.compress(json.dumps([{"image": "disc/1.png", "label": 0, "best": [2, 0, 1]}]).encode()))
    assert read_answers(path) == by_image(answer("disc/1.png", 0, 2, 0, 1))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is missing"), (b"{", "is damaged"), (b'[{"image": "a"}]', "is damaged"), (b'[{"best": 1}]', "holds no answers")],
)
def test_answers_that_cannot_be_read_end_in_one_sentence(content, words, tmp_path):
    path = tmp_path / "predictions.json.gz"
    if content is not None:
        path.write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=words):
        read_answers(path)


def test_images_are_ordered_by_the_share_of_the_seeds_that_are_right():
    images = [f"disc/{letter}.png" for letter in "abcdefghij"]
    right, wrong = ({image: answer(image, 0, *best) for image in images} for best in ((0, 1), (1, 0)))
    baseline = [right | {images[2]: wrong[images[2]]}, right]
    row = [right | {images[7]: wrong[images[7]]}, right | {images[7]: wrong[images[7]]}]
    examples = compare_answers([baseline, row])
    assert examples.groups["greatest gain"][0] == images[2]
    assert examples.groups["greatest loss"][0] == images[7]
    assert [examples.gains[image] for image in (images[2], images[7], images[0])] == [0.5, -1.0, 0.0]
    assert examples.caption == "better on 10%, worse on 10%, same on 80% of 10 images"


def test_the_class_and_the_answers_stand_under_the_picture():
    _, panels = plt.subplots(4)
    answers = [answer("a", 0, 0, 1, 2), answer("a", 0, 2, 0, 1), answer("a", 0, 2, 1)]
    draw_answers(np.zeros((4, 4, 3), np.uint8), CLASSES, answers, panels)
    assert [axes.get_xlabel() for axes in panels] == ["disc", "disc", "star (2.)", "star (–)"]
    assert [axes.xaxis.label.get_color() for axes in panels[1:]] == [RIGHT, WRONG, WRONG]
    plt.close("all")
