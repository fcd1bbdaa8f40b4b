"""Label maps of two rows on images: which images to show, and what is drawn of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from experiments.errors import UserError
from experiments.tasks.class_areas import maps_of_images, read_labels
from reports.example_images import Examples, choose_images, read_kept
from reports.figure_style import PALETTE

Labels = NDArray[np.integer[Any]]
LabelMapsByImage = Mapping[str, Labels]
WRONG, OPACITY = "#d00000", 0.65
# Greys and tints for the labels after those of the palette.
COLOURS = [*(colour for colour in PALETTE if colour != "#000000"), "#DDDDDD", "#F0E442", "#666666", "#88CCAA", "#332288"]
LABELS_READ = (
    "A colour is a class, and red a wrong one; what is not coloured does not count.\n"
    "Numbers: gain in mean IoU over the image's classes, from 0 to 1, mean over the seeds"
)


def read_label_maps(path: Path) -> dict[str, Labels]:
    """The label maps that a run has kept, by image.

    Parameters
    ----------
    path : Path
        ``runs/<id>/predictions.json.gz``.

    Raises
    ------
    UserError
        If the run has kept none, or the file is damaged.
    """
    maps: dict[str, Labels] = {}
    for entry in read_kept(path, "label"):
        mask = mask_api.decode(entry["segmentation"]).astype(bool)
        maps.setdefault(entry["image"], np.zeros(mask.shape, np.int16))[mask] = entry["label"]
    return maps


def read_truth(
    folder: Path, images: LabelMapsByImage, endings: tuple[str, str] = (".png", ".png"), zero_is_ignored: bool = False
) -> dict[str, Labels]:
    """The true label maps of images.

    Parameters
    ----------
    folder : Path
        Their folder; there may be folders in it.
    images : dict
        Keys are the names of the images without ``.jpg`` or ``.png``.
    endings : (str, str)
        What stands behind the name that an image and its map share.
    zero_is_ignored : bool
        Whether the files count classes from 1.

    Raises
    ------
    UserError
        If a map is missing.
    """
    found = maps_of_images(folder, *endings)
    truth: dict[str, Labels] = {}
    for image in images:
        if image not in found:
            raise UserError(f"{folder}: the label map of image {image} does not exist: put it back to draw examples")
        truth[image] = read_labels(found[image], zero_is_ignored).astype(np.int16)
    return truth


def mean_iou(predicted: Labels, truth: Labels, classes: int, ignored: int) -> float:
    """Mean intersection over union of the classes of one image, from 0 to 1.

    Parameters
    ----------
    predicted, truth : array
        Labels (H, W).
    classes : int
        Number of classes.
    ignored : int
        Label in the truth that does not count.
    """
    counts = truth != ignored
    ious = []
    for label in range(classes):
        ours, theirs = (predicted == label) & counts, truth == label
        if either := int((ours | theirs).sum()):
            ious.append((ours & theirs).sum() / either)
    return float(np.mean(ious)) if ious else 0.0


def compare_label_maps(
    truth: LabelMapsByImage, rows: Sequence[Sequence[LabelMapsByImage]], classes: int, ignored: int
) -> Examples:
    """Choose the images of a comparison of two rows.

    Parameters
    ----------
    truth : dict
        From `read_truth`.
    rows : sequence
        Baseline and row, the label maps of each of their seeds.
    classes, ignored
        As for `mean_iou`.
    """
    images = sorted(truth)
    baseline, row = (
        np.mean([[mean_iou(maps[image], truth[image], classes, ignored) for image in images] for maps in seeds], axis=0)
        for seeds in rows
    )
    present = np.array([len(set(np.unique(truth[image]).tolist()) - {ignored}) for image in images])
    return choose_images(images, row - baseline, present, "classes")


def draw_labels(
    picture: NDArray[np.uint8], truth: Labels, predicted: Sequence[Labels], ignored: int, panels: NDArray[Any]
) -> None:
    """Draw the true labels of an image, and each prediction with what is wrong in it.

    Parameters
    ----------
    picture : array
        The image (H, W, 3).
    truth : array
        Labels (H, W).
    predicted : sequence of array
        Labels (H, W) of each row.
    ignored : int
        Label in the truth that does not count.
    panels : array of Axes
        One for the truth, and one for each row.
    """
    extent = (0, truth.shape[1], truth.shape[0], 0)
    for axes, labels in zip(panels, [truth, *predicted], strict=True):
        axes.imshow(picture, extent=extent)
        axes.imshow(_coloured(labels, truth, ignored), interpolation="nearest", extent=extent)


def _coloured(labels: Labels, truth: Labels, ignored: int) -> NDArray[np.float64]:
    painted = np.zeros((*labels.shape, 4))
    for label in np.unique(labels[truth != ignored]).tolist():
        painted[labels == label] = (*to_rgb(COLOURS[label % len(COLOURS)]), OPACITY)
    painted[labels != truth] = (*to_rgb(WRONG), 1.0)
    painted[truth == ignored] = 0
    return painted
