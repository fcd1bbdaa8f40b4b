"""Which images to show of two rows: by rule, so that nobody picks them."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from numpy.typing import NDArray

from experiments.bootstrap.matching import IOU_THRESHOLDS, match_classes
from experiments.errors import UserError

# Detections with a lower score are not drawn, and do not count here.
LEAST_SCORE = 0.3
LEAST_OBJECTS = 3
IMAGES_OF_A_GROUP = 3
SAME = 1e-9
Entry = dict[str, Any]
ImageId = int | str


@dataclass(frozen=True)
class Examples:
    """Images to show of a comparison, and how they stand among all.

    Attributes
    ----------
    groups : dict
        greatest gain, drawn by hash, greatest loss: the ids of the images.
    gains : dict
        Image to gain.
    better, worse, same : float
        Shares of the images that may be shown: where these have several objects or classes, those with `LEAST_OBJECTS`.
    images : int
        Their number.
    counted : str or None
        Of what they have so many; None for images with one label.
    """

    groups: dict[str, list[ImageId]]
    gains: dict[ImageId, float]
    better: float
    worse: float
    same: float
    images: int
    counted: str | None = "objects"

    @property
    def caption(self) -> str:
        """How many images gain and lose, without which the greatest gains are cherries."""
        of_all = f"better on {self.better:.0%}, worse on {self.worse:.0%}, same on {self.same:.0%} of {self.images} images"
        return f"{of_all} with at least {LEAST_OBJECTS} {self.counted}" if self.counted else of_all


def read_predictions(path: Path) -> list[Entry]:
    """The predictions that a run has kept, those that are drawn.

    Parameters
    ----------
    path : Path
        ``runs/<id>/predictions.json.gz``.

    Raises
    ------
    UserError
        If the run has kept none.
    """
    return [entry for entry in read_kept(path, "score") if entry["score"] >= LEAST_SCORE]


def read_kept(path: Path, key: str) -> list[Entry]:
    """All entries of a file of predictions.

    Parameters
    ----------
    path : Path
        ``runs/<id>/predictions.json.gz``.
    key : str
        What each entry must have.

    Raises
    ------
    UserError
        If the run has kept none, or the file is damaged.
    """
    try:
        with gzip.open(path) as file:
            entries: list[Entry] = json.load(file)
        for entry in entries:
            entry[key]
        return entries
    except FileNotFoundError:
        raise UserError(
            f"{path}: is missing: the run was trained before predictions were kept, or at a scale with keep_predictions: false;"
            " delete its metrics.json and it is measured again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def scores_of_images(truth: COCO, predictions: Sequence[Entry], object_sizes: tuple[float, float]) -> NDArray[np.float64]:
    """How well each image is seen: F, twice the hits over detections and objects, mean over the ten thresholds.

    Parameters
    ----------
    truth : COCO
        The objects.
    predictions : sequence of dict
        From `read_predictions`; masks where they have them, else boxes.
    object_sizes : (float, float)
        Of the scale.

    Returns
    -------
    array
        (I,) in the order of the images' ids.
    """
    images = len(truth.imgs)
    if not predictions:
        return np.zeros(images)
    kind = "mask" if "segmentation" in predictions[0] else "box"
    left_out = {"bbox"} if kind == "mask" else {"segmentation"}
    found = truth.loadRes([{key: value for key, value in entry.items() if key not in left_out} for entry in predictions])
    hits, drawn = np.zeros((len(IOU_THRESHOLDS), images)), np.zeros((len(IOU_THRESHOLDS), images))
    for of_class in match_classes(truth, found, kind, object_sizes):
        for threshold in range(len(IOU_THRESHOLDS)):
            hits[threshold] += np.bincount(of_class.image[of_class.is_hit[0, threshold]], minlength=images)
            drawn[threshold] += np.bincount(of_class.image[of_class.is_counted[0, threshold]], minlength=images)
    both = drawn + objects_of_images(truth)
    means: NDArray[np.float64] = (2 * hits / np.maximum(both, 1)).mean(axis=0)
    return means


def objects_of_images(truth: COCO) -> NDArray[np.int64]:
    """Number of objects of each image, without crowds, (I,) in the order of the images' ids.

    Parameters
    ----------
    truth : COCO
        The objects.
    """
    of_image = {image: 0 for image in sorted(truth.imgs)}
    for entry in truth.dataset["annotations"]:
        of_image[entry["image_id"]] += not entry.get("iscrowd")
    return np.array(list(of_image.values()))


def choose_images(
    images: Sequence[ImageId],
    gains: NDArray[np.float64],
    objects: NDArray[np.int64] | None = None,
    counted: str = "objects",
) -> Examples:
    """The images of greatest gain, of greatest loss, and some that nobody chose.

    Parameters
    ----------
    images : sequence of int or str
        Their ids, sorted.
    gains : array
        (I,) score of the row minus score of its baseline.
    objects : array or None
        (I,) number of objects, or of classes; None for images with one label, each of which may be shown.
    counted : str
        Which of them.

    Raises
    ------
    UserError
        If no image has enough of them.
    """
    shown = [index for index in range(len(images)) if objects is None or objects[index] >= LEAST_OBJECTS]
    if not shown:
        raise UserError(f"no image has {LEAST_OBJECTS} {counted}, so that none says much of a row")
    hashes = [hashlib.sha256(str(image).encode()).hexdigest() for image in images]
    # Equal gains in the order of the hashes: that of the names would show one class, where folders are classes.
    rising = sorted(shown, key=lambda index: (gains[index], hashes[index]))
    best, worst = rising[::-1][:IMAGES_OF_A_GROUP], rising[:IMAGES_OF_A_GROUP]
    others = [index for index in shown if index not in {*best, *worst}]
    drawn = sorted(others, key=hashes.__getitem__)[:IMAGES_OF_A_GROUP]
    of_shown = gains[shown]
    return Examples(
        groups={
            title: [images[index] for index in chosen]
            for title, chosen in (("greatest gain", best), ("drawn by hash", drawn), ("greatest loss", worst))
        },
        gains={images[index]: float(gains[index]) for index in shown},
        better=float((of_shown > SAME).mean()),
        worse=float((of_shown < -SAME).mean()),
        same=float((np.abs(of_shown) <= SAME).mean()),
        images=len(shown),
        counted=None if objects is None else counted,
    )


def compare_images(truth: COCO, rows: Mapping[str, Sequence[Sequence[Entry]]], object_sizes: tuple[float, float]) -> Examples:
    """Choose the images of a comparison of two rows.

    Parameters
    ----------
    truth : COCO
        The objects.
    rows : dict
        Name of the baseline, then of the row, to the predictions of each of their seeds.
    object_sizes : (float, float)
        Of the scale.
    """
    baseline, row = (
        np.mean([scores_of_images(truth, predictions, object_sizes) for predictions in seeds], axis=0)
        for seeds in rows.values()
    )
    return choose_images(sorted(truth.imgs), row - baseline, objects_of_images(truth))
