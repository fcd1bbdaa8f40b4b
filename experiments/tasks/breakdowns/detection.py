"""What stands behind the average precisions of a run: its detections, resamples of the images, classes."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from faster_coco_eval import COCO
from numpy.typing import NDArray

from experiments.bootstrap.average_precision import resampled_precisions, summarize
from experiments.bootstrap.matching import match_classes
from experiments.bootstrap.resamples import draw_weights
from experiments.tasks.average_precision import load
from experiments.tasks.breakdowns.protocols import RESAMPLED
from experiments.tasks.task import Breakdown


def break_down(
    annotations: Path, detections: Mapping[str, Path], object_sizes: tuple[float, float], protocols: Collection[str] = ()
) -> Breakdown:
    """Match detections once, and measure resamples and classes.

    Parameters
    ----------
    annotations : Path
        Ground truth, COCO's ``instances`` format.
    detections : dict
        Kind, box or mask, to detections in COCO's result format; the file of the last kind has all of them.
    object_sizes : (float, float)
        As for `experiments.tasks.average_precision.average_precision`.
    protocols : collection of str
        Names of `experiments.spec.metrics.PROTOCOLS`: other rules for boxes, whose resamples are wanted too.
    """
    replicates: dict[str, NDArray[np.float64]] = {}
    classes: dict[str, dict[str, float | None]] = {}
    for kind, path in detections.items():
        truth, found = load(annotations, path, kind)
        weights = draw_weights(sorted(truth.imgs))
        precisions = resampled_precisions(match_classes(truth, found, kind, object_sizes), weights)
        replicates |= {f"{kind}_{name}": values for name, values in summarize(precisions).items()}
        for name, value in zip(_class_names(truth), _of_dataset(precisions), strict=True):
            classes.setdefault(name, {})[f"{kind}_AP"] = None if np.isnan(value) else 100 * float(value)
        for protocol in protocols if kind == "box" else ():
            replicates |= RESAMPLED[protocol](truth, found, weights)
    return Breakdown(list(detections.values())[-1], replicates, classes)


def _class_names(truth: COCO) -> list[str]:
    return [truth.cats[category]["name"] for category in sorted(truth.cats)]


def _of_dataset(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision of each class over all thresholds and sizes, on the images themselves."""
    averages: NDArray[np.float64] = precisions[0, 0].mean(axis=0)
    return averages
