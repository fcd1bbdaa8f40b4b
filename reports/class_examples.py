"""Answers of two rows on images of one label each: which images to show, and what is written under them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

from experiments.errors import UserError
from reports.example_images import Examples, choose_images, read_kept

WRONG, RIGHT = "#d00000", "#00603f"
ANSWERS_READ = (
    "Under each picture the class of the greatest score, red where it is wrong, and then the place of the right one, of five.\n"
    "Numbers: gain in the share of the seeds that are right"
)


class Answer(BaseModel):
    """What a run says of an image.

    Attributes
    ----------
    label : int
        The true class.
    best : list of int
        The classes of greatest score, greatest first.
    """

    image: str
    label: int
    best: list[int]

    @property
    def is_right(self) -> bool:
        """Whether the first one is the true one."""
        return self.best[0] == self.label


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers that a run has kept, by image.

    Parameters
    ----------
    path : Path
        ``runs/<id>/predictions.json.gz``.

    Raises
    ------
    UserError
        If the run has kept none, or the file is damaged.
    """
    try:
        answers = TypeAdapter(list[Answer]).validate_python(read_kept(path, "best"))
    except ValidationError:
        raise UserError(f"{path} is damaged: it holds no answers about images of one label each") from None
    return {answer.image: answer for answer in answers}


def compare_answers(rows: Sequence[Sequence[Mapping[str, Answer]]]) -> Examples:
    """Choose the images of a comparison of two rows.

    Parameters
    ----------
    rows : sequence
        Baseline and row, the answers of each of their seeds.
    """
    images = sorted(rows[0][0])
    baseline, row = (np.mean([[answers[image].is_right for image in images] for answers in seeds], axis=0) for seeds in rows)
    return choose_images(images, row - baseline)


def draw_answers(picture: NDArray[np.uint8], classes: Sequence[str], answers: Sequence[Answer], panels: NDArray[Any]) -> None:
    """Draw an image with its class, and with that which each row takes it for.

    Parameters
    ----------
    picture : array
        The image (H, W, 3).
    classes : sequence of str
        Names of the classes.
    answers : sequence of Answer
        Of each row.
    panels : array of Axes
        One for the truth, and one for each row.
    """
    for axes in panels:
        axes.imshow(picture)
    panels[0].set_xlabel(classes[answers[0].label], fontsize=6)
    for axes, answer in zip(panels[1:], answers, strict=True):
        axes.set_xlabel(_in_words(answer, classes), fontsize=6, color=RIGHT if answer.is_right else WRONG)


def _in_words(answer: Answer, classes: Sequence[str]) -> str:
    said = classes[answer.best[0]]
    if answer.is_right:
        return said
    return f"{said} ({answer.best.index(answer.label) + 1}.)" if answer.label in answer.best else f"{said} (–)"
