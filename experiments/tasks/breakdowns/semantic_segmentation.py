"""What stands behind the mean intersection over union of a run: its label maps, resamples of the images, classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from experiments.bootstrap.resamples import draw_weights
from experiments.tasks.class_areas import intersections_over_union, read_labels, summarize
from experiments.tasks.task import Breakdown


def break_down(
    areas: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    predictions: Path,
    output: Path,
    zero_is_ignored: bool = False,
) -> Breakdown:
    """Keep the label maps in one file, and measure resamples and classes.

    Parameters
    ----------
    areas : dict
        From `experiments.tasks.class_areas.read_areas`.
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
    # Sums of pixels are exact in float64, and its products fast.
    counts = np.stack(list(areas.values())).astype(np.float64)
    resampled = np.tensordot(draw_weights(areas).astype(np.float64), counts, axes=1)
    of_dataset = intersections_over_union(resampled[0])
    named = zip(classes, of_dataset, strict=True)
    labels = {image: read_labels(predictions / f"{image}.png", zero_is_ignored) for image in areas}
    output.write_text(json.dumps([entry for image in areas for entry in _encode(image, labels[image])]))
    return Breakdown(
        output, summarize(resampled), {name: {"mIoU": None if np.isnan(value) else float(value)} for name, value in named}
    )


def _encode(image: str, labels: NDArray[np.integer]) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for label in np.unique(labels).tolist():
        encoded = mask_api.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        mask = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        entries.append({"image": image, "label": label, "segmentation": mask})
    return entries
