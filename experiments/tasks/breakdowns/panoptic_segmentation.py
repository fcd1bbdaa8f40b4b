"""What stands behind the panoptic quality of a run: its segments, resamples of the images, classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.bootstrap.resamples import draw_weights
from experiments.tasks.panoptic_parts import qualities_and_iou
from experiments.tasks.panoptic_quality import qualities
from experiments.tasks.task import Breakdown


def break_down(segments: Path, classes: Sequence[str], things: int, objects: Breakdown) -> Breakdown:
    """Measure resamples and classes.

    Parameters
    ----------
    segments : Path
        Files of `experiments.tasks.panoptic_parts.PanopticQualityMetric`, without their endings.
    classes : sequence of str
        Names of the classes by their labels.
    things : int
        Number of the classes that are things; they come first.
    objects : Breakdown
        That of the instances before fusion.
    """
    counted = np.load(segments.with_suffix(".npz"))
    order = np.argsort(counted["images"])
    images = [int(image) for image in counted["images"][order]]
    weights = draw_weights(images).astype(np.float64)
    counts, areas = (np.tensordot(weights, counted[part][order].astype(np.float64), axes=1) for part in ("counts", "areas"))
    replicates = {**dict(qualities_and_iou(counts, areas, things)), **objects.replicates}
    of_classes = {
        name: {"PQ": None if np.isnan(value) else float(value), **objects.classes.get(name, {})}
        for name, value in zip(classes, qualities(counts[0])["PQ"], strict=True)
    }
    return Breakdown(segments.with_suffix(".json"), replicates, of_classes)
