"""COCO's average precisions of a run on every resample of the images, exact, and in seconds.

A resample is a dataset in which an image stands as often as it was drawn. Detections match objects within one image, so
matching is done once; a resample only weights what each detection and each object counts.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from experiments.bootstrap.matching import IOU_THRESHOLDS, ClassMatches

Recalls = NDArray[np.floating[Any]]
# COCO's own expression, as for the thresholds of the overlap.
RECALLS = np.linspace(0.0, 1.0, 101)
# Index of the threshold 0.75.
AT_75 = 5


def resampled_precisions(
    matches: Sequence[ClassMatches], weights: NDArray[np.int16], recalls: Recalls = RECALLS
) -> NDArray[np.float64]:
    """The average precision of every class on every resample.

    Parameters
    ----------
    matches : sequence of ClassMatches
        K classes, from `experiments.bootstrap.matching.match_classes`.
    weights : array
        (B, I) how often each resample has each image, from `experiments.bootstrap.resamples.draw_weights`.
    recalls : array
        Points of recall over which precision is averaged: COCO's 101.

    Returns
    -------
    array
        (B, A, T, K) from 0 to 1; NaN where no object counts.
    """
    sizes = max((len(of_class.objects) for of_class in matches), default=0)
    result = np.full((len(weights), sizes, len(IOU_THRESHOLDS), len(matches)), np.nan)
    for number, of_class in enumerate(matches):
        present = np.flatnonzero(of_class.objects.any(axis=0))
        totals = weights[:, present].astype(np.int64) @ of_class.objects[:, present].T
        for size in range(sizes):
            result[:, size, :, number] = _precisions(of_class, size, weights, totals[:, size], recalls)
    return result


def summarize(precisions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """COCO's six averages in percent over classes that have an object in the resample.

    Parameters
    ----------
    precisions : array
        (B, A, T, K), from `resampled_precisions`.

    Returns
    -------
    dict
        AP, AP50, AP75, APS, APM, APL, each (B,); NaN where no object has that size.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        by_size = 100 * np.nanmean(precisions, axis=(2, 3))
        by_threshold = 100 * np.nanmean(precisions[:, 0], axis=2)
    return {
        "AP": by_size[:, 0],
        "AP50": by_threshold[:, 0],
        "AP75": by_threshold[:, AT_75],
        "APS": by_size[:, 1],
        "APM": by_size[:, 2],
        "APL": by_size[:, 3],
    }


def _precisions(
    of_class: ClassMatches,
    size: int,
    weights: NDArray[np.int16],
    totals: NDArray[np.int64],
    recalls: Recalls,
) -> NDArray[np.float64]:
    # What is ignored at every threshold need not be looked at.
    kept = of_class.is_counted[size].any(axis=0)
    is_hit, is_counted = of_class.is_hit[size][:, kept], of_class.is_counted[size][:, kept]
    is_common = is_counted.all(axis=0)
    result = np.empty((len(weights), len(IOU_THRESHOLDS)))
    hits, special = _positions(is_hit), _positions(is_counted & ~is_common)
    _weight_precisions(weights, totals.copy(), of_class.image[kept], *hits, *special, is_common, recalls, result)
    return result


def _positions(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Positions of the true flags of each line, one line after the other, and where each line starts."""
    starts = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int64)
    return np.nonzero(flags)[1].astype(np.int32), starts


@numba.njit(nogil=True, cache=True)
def _weight_precisions(weights, totals, image, hits, hit_starts, special, special_starts, is_common, recalls, result):
    """Average precision of one class and size on each resample into `result` (B, T).

    Precision has its maxima at hits, so only they are visited, from the last to the first. How many detections count up to a
    hit is one cumulated sum for all thresholds (`is_common`: counted at each of them), and a few that count at some of them
    (`special`).
    """
    detections, levels, last = len(image), len(hit_starts) - 1, len(recalls) - 1
    weight, cumulated = np.empty(detections, np.int64), np.empty(detections, np.int64)
    for resample in range(len(weights)):
        total, running = totals[resample], 0
        if total == 0:
            result[resample] = np.nan
            continue
        for detection in range(detections):
            weight[detection] = weights[resample, image[detection]]
            running += weight[detection] if is_common[detection] else 0
            cumulated[detection] = running
        for level in range(levels):
            positives, extra = 0, 0
            for position in range(hit_starts[level], hit_starts[level + 1]):
                positives += weight[hits[position]]
            for position in range(special_starts[level], special_starts[level + 1]):
                extra += weight[special[position]]
            behind, recall = special_starts[level + 1] - 1, last
            envelope = summed = 0.0
            while recall >= 0 and recalls[recall] > positives / total:
                recall -= 1
            for position in range(hit_starts[level + 1] - 1, hit_starts[level] - 1, -1):
                hit = hits[position]
                if weight[hit] == 0:
                    continue
                while behind >= special_starts[level] and special[behind] > hit:
                    extra -= weight[special[behind]]
                    behind -= 1
                envelope = max(envelope, positives / (cumulated[hit] + extra))
                positives -= weight[hit]
                # The hit of highest score reaches a recall of 0 too.
                while recall >= 0 and (recalls[recall] > positives / total or positives == 0):
                    summed += envelope
                    recall -= 1
            result[resample, level] = summed / len(recalls)
