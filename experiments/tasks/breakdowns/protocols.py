"""Average precisions of boxes by other rules than COCO's, on every resample of the images."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from faster_coco_eval import COCO
from numpy.typing import NDArray

from experiments.bootstrap.average_precision import resampled_precisions
from experiments.bootstrap.matching import ClassMatches, match_classes
from experiments.tasks.protocols.visdrone import COCOS_MOST_DETECTIONS, MOST_DETECTIONS, without_crowds
from experiments.tasks.protocols.voc import ELEVEN_RECALLS, match_boxes

Replicates = dict[str, NDArray[np.float64]]
# Precision is not told apart by sizes of objects.
ANY_SIZES = (1.0, 2.0)


def _of_voc(truth: COCO, found: COCO, weights: NDArray[np.int16]) -> Replicates:
    """With 11 points, as papers on VOC 2007 give it."""
    matches = [
        ClassMatches(one.image, one.is_hit[None], one.is_counted[None], one.objects[None]) for one in match_boxes(truth, found)
    ]
    return {"box_VOC07_AP": _average(resampled_precisions(matches, weights, ELEVEN_RECALLS))}


def _of_visdrone(truth: COCO, found: COCO, weights: NDArray[np.int16]) -> Replicates:
    own = match_classes(truth, found, "box", ANY_SIZES, MOST_DETECTIONS)
    of_papers = match_classes(without_crowds(truth), found, "box", ANY_SIZES, COCOS_MOST_DETECTIONS)
    return {
        "box_VisDrone_AP": _average(resampled_precisions(own, weights)),
        "box_mmdet_VisDrone_AP": _average(resampled_precisions(of_papers, weights)),
    }


def _average(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) percent, over classes that have an object in the resample."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        averages: NDArray[np.float64] = 100 * np.nanmean(precisions[:, 0], axis=(1, 2))
    return averages


# By their names in `experiments.spec.metrics.PROTOCOLS`.
RESAMPLED: Mapping[str, Callable[[COCO, COCO, NDArray[np.int16]], Replicates]] = {"voc": _of_voc, "visdrone": _of_visdrone}
