"""Panoptic segments -> matches of every class -> panoptic quality, at full precision (arXiv 1801.00868)."""

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.tasks.segments import VOID, Segment

MATCHED_ABOVE = 0.5
# Rows of an array of counts: sum of the IoU of matches, matches, segments that are predicted alone, and true ones alone.
OVERLAP, MATCHED, PREDICTED_ALONE, TRUE_ALONE = range(4)


def counts_of_image(
    predicted: NDArray[np.integer],
    segments: Mapping[int, Segment],
    truth: NDArray[np.integer],
    true_segments: Mapping[int, Segment],
    classes: int,
) -> NDArray[np.float64]:
    """Matches of each class in one image, as panopticapi counts them.

    Parameters
    ----------
    predicted, truth : array
        Ids of segments (H, W); `VOID` where there is none.
    segments, true_segments : dict
        Id to segment.
    classes : int
        Number of classes K.

    Returns
    -------
    array
        (4, K): overlap, matched, predicted alone, true alone.
    """
    shared = _shared_pixels(truth, predicted)
    area, true_area = _areas(predicted), _areas(truth)
    counts = np.zeros((4, classes))
    matched, found = set(), set()
    for (true_id, identifier), pixels in shared.items():
        true, ours = true_segments.get(true_id), segments.get(identifier)
        if true is None or ours is None or true.is_crowd or true.label != ours.label:
            continue
        # What is predicted where nothing is known does not count.
        either = area[identifier] + true_area[true_id] - pixels - shared.get((VOID, identifier), 0)
        if pixels / either > MATCHED_ABOVE:
            counts[[OVERLAP, MATCHED], true.label] += pixels / either, 1
            found.add(true_id)
            matched.add(identifier)
    for true_id, true in true_segments.items():
        if true_id not in found and not true.is_crowd and true_id in true_area:
            counts[TRUE_ALONE, true.label] += 1
    crowds = {true.label: true_id for true_id, true in true_segments.items() if true.is_crowd}
    for identifier, ours in segments.items():
        if identifier in matched or identifier not in area:
            continue
        unknown = shared.get((VOID, identifier), 0)
        if ours.label in crowds:
            unknown += shared.get((crowds[ours.label], identifier), 0)
        if unknown / area[identifier] <= MATCHED_ABOVE:
            counts[PREDICTED_ALONE, ours.label] += 1
    return counts


def _shared_pixels(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> dict[tuple[int, int], int]:
    pairs, pixels = np.unique(np.stack([truth.ravel(), predicted.ravel()]), axis=1, return_counts=True)
    return {(int(true), int(ours)): int(count) for true, ours, count in zip(*pairs, pixels, strict=True)}


def _areas(identifiers: NDArray[np.integer]) -> dict[int, int]:
    found, pixels = np.unique(identifiers, return_counts=True)
    return dict(zip(found.tolist(), pixels.tolist(), strict=True))


def qualities(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The qualities of each class in percent.

    Parameters
    ----------
    counts : array
        (..., 4, K), sums over images.

    Returns
    -------
    dict
        PQ, SQ and RQ, each (..., K); NaN for classes that are neither predicted nor true.
    """
    overlap, matched, predicted_alone, true_alone = np.moveaxis(counts, -2, 0)
    denominator = matched + predicted_alone / 2 + true_alone / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        quality = np.where(denominator > 0, 100 * overlap / denominator, np.nan)
        recognition = np.where(denominator > 0, 100 * matched / denominator, np.nan)
        # Of classes of which nothing was matched panopticapi says 0.
        segmentation = np.where(denominator > 0, np.where(matched > 0, 100 * overlap / np.maximum(matched, 1), 0.0), np.nan)
    return {"PQ": quality, "SQ": segmentation, "RQ": recognition}


def summarize(counts: NDArray[np.float64], things: int) -> dict[str, NDArray[np.float64]]:
    """The metrics of panoptic segmentation in percent, means over classes that occur.

    Parameters
    ----------
    counts : array
        (..., 4, K), sums over images; things before stuff.
    things : int
        Number of the classes that are things.

    Returns
    -------
    dict
        PQ, SQ, RQ, PQ_things and PQ_stuff, each (...,); NaN where no such class occurs.
    """
    of_classes = qualities(counts)
    parts = {name: of_classes[name] for name in ("PQ", "SQ", "RQ")}
    parts |= {"PQ_things": of_classes["PQ"][..., :things], "PQ_stuff": of_classes["PQ"][..., things:]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return {name: np.nanmean(values, axis=-1) for name, values in parts.items()}
