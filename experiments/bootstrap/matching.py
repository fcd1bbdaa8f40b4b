"""Detections matched to objects as COCO does it, once, for every threshold and size of object."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core import mask as mask_api
from numpy.typing import NDArray

# COCO's own expressions: the 58th of the second is not 57 / 100.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LARGEST_AREA = 1e10
SIZES = ("all", "small", "medium", "large")
MOST_DETECTIONS = 100
# COCO takes an overlap of one for a match at the highest threshold, whatever rounding made of it.
ALMOST_ONE = 1 - 1e-10
Entry = dict[str, Any]


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class by falling score, equal scores in the order of the images.

    Attributes
    ----------
    image : array
        (D,) index of the image.
    is_hit : array
        (A, T, D) whether the detection matches an object that counts, for each size of object and threshold.
    is_counted : array
        (A, T, D) whether it is a hit or a false positive; others are ignored.
    objects : array
        (A, I) objects that count, for each size and image.
    """

    image: NDArray[np.int32]
    is_hit: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    objects: NDArray[np.int32]


def match_classes(
    truth: COCO, found: COCO, kind: str, object_sizes: tuple[float, float], most_detections: int = MOST_DETECTIONS
) -> list[ClassMatches]:
    """Match the detections of every class.

    Parameters
    ----------
    truth, found : COCO
        Annotations and detections, from `experiments.tasks.average_precision.load`.
    kind : {'box', 'mask'}
        What overlaps.
    object_sizes : (float, float)
        Square roots, in pixels, of the areas between small, medium and large objects.
    most_detections : int
        Detections of a class and image that are looked at, those of the highest scores.

    Returns
    -------
    list of ClassMatches
        One for each class, by its id; images by their ids.
    """
    place = {image: index for index, image in enumerate(sorted(truth.imgs))}
    objects, detections = _by_class_and_image(truth), _by_class_and_image(found)
    ranges, overlaps = _area_ranges(object_sizes), _Overlaps(truth, found, kind, most_detections)
    return [_match_class(objects[category], detections[category], place, ranges, overlaps) for category in sorted(truth.cats)]


def _by_class_and_image(coco: COCO) -> dict[int, dict[int, list[Entry]]]:
    entries: dict[int, dict[int, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in coco.dataset["annotations"]:
        entries[entry["category_id"]][entry["image_id"]].append(entry)
    return entries


def _area_ranges(object_sizes: tuple[float, float]) -> NDArray[np.float64]:
    small, medium = (side**2 for side in object_sizes)
    return np.array([[0, LARGEST_AREA], [0, small], [small, medium], [medium, LARGEST_AREA]])


@dataclass(frozen=True)
class _Overlaps:
    truth: COCO
    found: COCO
    kind: str
    most_detections: int

    def of(self, detections: list[Entry], objects: list[Entry], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(D, G) intersection over union, for crowds over the detection alone."""
        if not objects:
            return np.zeros((len(detections), 0))
        if self.kind == "box":
            shapes = [entry["bbox"] for entry in detections], [entry["bbox"] for entry in objects]
        else:
            shapes = list(map(self.found.annToRLE, detections)), list(map(self.truth.annToRLE, objects))
        return np.asarray(mask_api.iou(*shapes, crowd.astype(int).tolist())).reshape(len(detections), len(objects))


def _match_class(
    objects: dict[int, list[Entry]],
    detections: dict[int, list[Entry]],
    place: dict[int, int],
    ranges: NDArray[np.float64],
    overlaps: _Overlaps,
) -> ClassMatches:
    count = np.zeros((len(SIZES), len(place)), np.int32)
    found: list[tuple[NDArray[Any], ...]] = [_none_found()]
    for image in sorted(objects.keys() | detections.keys()):
        wanted, got, index = objects.get(image, []), detections.get(image, []), place[image]
        crowd = np.array([bool(entry.get("iscrowd")) for entry in wanted], np.bool_)
        is_ignored = crowd | _is_outside(wanted, ranges)
        count[:, index] = (~is_ignored).sum(axis=1)
        if not got:
            continue
        score = np.array([entry["score"] for entry in got])
        order = np.argsort(-score, kind="stable")[: overlaps.most_detections]
        got = [got[position] for position in order]
        flags = _match_image(overlaps.of(got, wanted, crowd), crowd, is_ignored, _is_outside(got, ranges))
        found.append((score[order], np.full(len(got), index, np.int32), *flags))
    scores, images, is_hit, is_counted = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(images[order], is_hit[:, :, order], is_counted[:, :, order], count)


def _none_found() -> tuple[NDArray[Any], ...]:
    no_flags = np.zeros((len(SIZES), len(IOU_THRESHOLDS), 0), np.bool_)
    return np.zeros(0), np.zeros(0, np.int32), no_flags, no_flags


def _is_outside(entries: list[Entry], ranges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(A, N) whether the area is outside of each range."""
    area = np.array([entry["area"] for entry in entries], float)
    return (area < ranges[:, :1]) | (area > ranges[:, 1:])


def _match_image(
    overlap: NDArray[np.float64], crowd: NDArray[np.bool_], is_ignored: NDArray[np.bool_], is_outside: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match the detections of one image, highest score first, for all sizes and thresholds at once.

    Parameters
    ----------
    overlap : array
        (D, G).
    crowd : array
        (G,) whether the object is a crowd, which any number of detections may match.
    is_ignored, is_outside : array
        (A, G) and (A, D) what does not count.

    Returns
    -------
    is_hit, is_counted : array
        (A, T, D).
    """
    sizes, thresholds = len(is_ignored), np.minimum(IOU_THRESHOLDS, ALMOST_ONE)
    lanes = np.tile(thresholds, sizes)[:, None]
    ignored = np.repeat(is_ignored, len(thresholds), axis=0)
    taken = np.zeros(ignored.shape, np.bool_)
    is_hit = np.zeros((len(lanes), len(overlap)), np.bool_)
    is_counted = np.repeat(~is_outside, len(thresholds), axis=0)
    for number in np.flatnonzero((overlap >= thresholds[0]).any(axis=1)):
        free = (overlap[number] >= lanes) & (~taken | crowd)
        counting = free & ~ignored
        # Objects that count go before ignored ones.
        is_regular = counting.any(axis=1)
        candidates = np.where(is_regular[:, None], counting, free)
        # Of equal overlaps COCO takes the last.
        best = len(crowd) - 1 - np.argmax(np.where(candidates, overlap[number], -1.0)[:, ::-1], axis=1)
        lane = np.flatnonzero(candidates.any(axis=1))
        taken[lane, best[lane]] = True
        is_hit[lane, number] = is_counted[lane, number] = is_regular[lane]
    shape = (sizes, len(thresholds), len(overlap))
    return is_hit.reshape(shape), is_counted.reshape(shape)
