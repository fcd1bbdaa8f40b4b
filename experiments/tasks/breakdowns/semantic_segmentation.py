"""What stands behind the mean intersection over union of a run: its label maps, resamples of the images, classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from experiments.bootstrap.resamples import draw_weights
from experiments.tasks.class_areas import intersections_over_union, read_labels
from experiments.tasks.task import Breakdown
from experiments.tasks.true_label_maps import ImageAreas, measure, stack


def break_down(
    areas: Mapping[str, ImageAreas],
    classes: Sequence[str],
    predictions: Path,
    output: Path,
    zero_is_ignored: bool = False,
) -> Breakdown:
    """Keep the label maps in one file, and measure resamples and classes.

    Parameters
    ----------
    areas : dict
        From `experiments.tasks.true_label_maps.TrueLabelMaps.read_areas`.
    classes : sequence of str
        Names of the classes by their labels.
    predictions : Path
        Folder of the predicted label maps.
    output : Path
        File to write: a list with an entry for each image and label in it, ``image``, ``label`` and ``segmentation``, a
        run-length encoded mask as in COCO's results.
    zero_is_ignored : bool
        Whether the files count classes from 1.
    """
    weights = draw_weights(areas).astype(np.float64)
    resampled = {name: np.tensordot(weights, part, axes=1) for name, part in stack(areas.values()).items()}
    of_dataset = intersections_over_union(resampled["mIoU"][0])
    named = zip(classes, of_dataset, strict=True)
    # One map in memory at a time.
    maps = ((image, read_labels(predictions / f"{image}.png", zero_is_ignored)) for image in areas)
    output.write_text(json.dumps([entry for image, labels in maps for entry in _encode(image, labels)]))
    return Breakdown(
        output, measure(resampled), {name: {"mIoU": None if np.isnan(value) else float(value)} for name, value in named}
    )


def _encode(image: str, labels: NDArray[np.integer]) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for label in np.unique(labels).tolist():
        encoded = mask_api.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        mask = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        entries.append({"image": image, "label": label, "segmentation": mask})
    return entries
