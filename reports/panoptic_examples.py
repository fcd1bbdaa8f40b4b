"""Segments of two rows on images: which images to show, and what is drawn of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from experiments.errors import UserError
from experiments.tasks.panoptic_quality import MATCHED, OVERLAP, PREDICTED_ALONE, TRUE_ALONE, counts_of_image
from experiments.tasks.segments import VOID, Segment, SegmentedImage, read_map
from reports.example_images import Examples, choose_images, read_kept
from reports.figure_style import PALETTE

Ids = NDArray[np.integer[Any]]
COLOURS = [colour for colour in PALETTE if colour != "#000000"]
WRONG, OPACITY = "#d00000", 0.6
FOUND_AT = 0.5
SEGMENTS_READ = (
    "Filled: found (IoU above 0.5, right class), in the colour of its segment. Red: no such segment.\n"
    "Numbers: gain in panoptic quality over the image's segments, from 0 to 1, mean over the seeds"
)


@dataclass(frozen=True)
class Segmentation:
    """The segments of an image.

    Attributes
    ----------
    identifiers : array
        Ids (H, W); `VOID` where there is no segment.
    segments : dict
        Id to segment.
    """

    identifiers: Ids
    segments: Mapping[int, Segment]


def read_segmentations(path: Path) -> dict[int, Segmentation]:
    """The segments that a run has kept, by image.

    Parameters
    ----------
    path : Path
        ``runs/<id>/predictions.json.gz``.

    Raises
    ------
    UserError
        If the run has kept none, or the file is damaged.
    """
    maps: dict[int, Ids] = {}
    segments: dict[int, dict[int, Segment]] = {}
    for entry in read_kept(path, "segment"):
        image, mask = entry["image_id"], mask_api.decode(entry["segmentation"]).astype(bool)
        of_image = segments.setdefault(image, {})
        maps.setdefault(image, np.zeros(mask.shape, np.int32))[mask] = len(of_image) + 1
        of_image[len(of_image) + 1] = Segment(entry["segment"])
    return {image: Segmentation(identifiers, segments[image]) for image, identifiers in maps.items()}


def read_true_segmentations(annotated: Mapping[int, SegmentedImage], folder: Path) -> dict[int, Segmentation]:
    """The true segments of images.

    Parameters
    ----------
    annotated : dict
        From `experiments.tasks.segments.read_segments`.
    folder : Path
        Folder of their maps.

    Raises
    ------
    UserError
        If a map is missing.
    """
    lacking = [image.map_name for image in annotated.values() if not (folder / image.map_name).is_file()]
    if lacking:
        raise UserError(f"{folder / lacking[0]}: does not exist: put it back to draw examples")
    return {key: Segmentation(read_map(folder / image.map_name), image.segments) for key, image in annotated.items()}


def quality_of_image(predicted: Segmentation | None, truth: Segmentation, classes: int) -> float:
    """Panoptic quality of one image from 0 to 1, all its segments together.

    Parameters
    ----------
    predicted : Segmentation or None
        None where nothing was.
    truth : Segmentation
        The true segments.
    classes : int
        Number of classes.
    """
    ours = predicted or Segmentation(np.zeros_like(truth.identifiers), {})
    counts = counts_of_image(ours.identifiers, ours.segments, truth.identifiers, truth.segments, classes).sum(axis=1)
    denominator = counts[MATCHED] + (counts[PREDICTED_ALONE] + counts[TRUE_ALONE]) / 2
    return float(counts[OVERLAP] / denominator) if denominator else 0.0


def compare_segmentations(
    truth: Mapping[int, Segmentation], rows: Sequence[Sequence[Mapping[int, Segmentation]]], classes: int
) -> Examples:
    """Choose the images of a comparison of two rows.

    Parameters
    ----------
    truth : dict
        The true segments by image.
    rows : sequence
        Baseline and row, the segments by image of each of their seeds.
    classes : int
        Number of classes.
    """
    images = sorted(truth)
    baseline, row = (
        np.mean([[quality_of_image(found.get(image), truth[image], classes) for image in images] for found in seeds], axis=0)
        for seeds in rows
    )
    present = np.array([sum(not segment.is_crowd for segment in truth[image].segments.values()) for image in images])
    return choose_images(images, row - baseline, present, "segments")


def draw_segments(
    picture: NDArray[np.uint8], truth: Segmentation, predicted: Sequence[Segmentation | None], panels: NDArray[Any]
) -> None:
    """Draw the true segments of an image, and each prediction with what is wrong in it.

    Parameters
    ----------
    picture : array
        The image (H, W, 3).
    truth : Segmentation
        The true segments.
    predicted : sequence
        The segments of each row.
    panels : array of Axes
        One for the truth, and one for each row.
    """
    height, width = truth.identifiers.shape
    colours = {identifier: COLOURS[number % len(COLOURS)] for number, identifier in enumerate(truth.segments)}
    for axes, shown in zip(panels, [truth, *predicted], strict=True):
        axes.imshow(picture, extent=(0, width, height, 0))
        if shown is not None:
            axes.imshow(_coloured(shown, truth, colours), interpolation="nearest", extent=(0, width, height, 0))


def _coloured(shown: Segmentation, truth: Segmentation, colours: Mapping[int, str]) -> NDArray[np.float64]:
    painted = np.zeros((*shown.identifiers.shape, 4))
    for identifier, segment in shown.segments.items():
        mask = shown.identifiers == identifier
        found = identifier if shown is truth else _matched(mask, segment, truth)
        painted[mask] = (*to_rgb(WRONG if found is None else colours[found]), OPACITY)
    painted[truth.identifiers == VOID] = 0
    return painted


def _matched(mask: NDArray[np.bool_], segment: Segment, truth: Segmentation) -> int | None:
    counted = mask & (truth.identifiers != VOID)
    for identifier, true in truth.segments.items():
        theirs = truth.identifiers == identifier
        if true.label == segment.label and (counted & theirs).sum() > FOUND_AT * (counted | theirs).sum():
            return identifier
    return None
