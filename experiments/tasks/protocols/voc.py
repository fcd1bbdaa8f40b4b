"""PASCAL VOC's average precision: 11 points of recall, as until 2009, or the area below the curve, as since 2010."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core import mask as mask_api
from numpy.typing import NDArray

from experiments.tasks.average_precision import load

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AT_75 = 5
# Detectron2's expression, which is VOC's.
ELEVEN_RECALLS = np.arange(0.0, 1.1, 0.1)
Entry = dict[str, Any]
# Recall and precision after each detection that counts.
Average = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


@dataclass(frozen=True)
class VocMatches:
    """The detections of one class by falling score, equal scores in the order of the images.

    Attributes
    ----------
    image : array
        (D,) index of the image.
    is_hit, is_counted : array
        (T, D) whether the detection is the first of an object, and whether it counts: those of difficult objects do not.
    objects : array
        (I,) objects of each image that are not difficult.
    """

    image: NDArray[np.int32]
    is_hit: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    objects: NDArray[np.int32]


def average_precision(annotations: Path, detections: Path) -> dict[str, float | None]:
    """VOC's average precisions in percent, over overlaps from 0.5 to 0.95, of 0.5 and of 0.75.

    Parameters
    ----------
    annotations : Path
        Ground truth in COCO's ``instances`` format; difficult objects have ``iscrowd``.
    detections : Path
        Detections, COCO's result format.

    Returns
    -------
    dict
        ``box_VOC07_AP``, with 11 points, ``box_VOC_AP``, the area, and both ending in 50 and 75. None without any object.
    """
    matches = [of_class for of_class in match_boxes(*load(annotations, detections)) if of_class.objects.any()]
    found: dict[str, float | None] = {}
    for name, precision in (("VOC07", _of_eleven_points), ("VOC", _of_area)):
        values = _means([_precisions(of_class, precision) for of_class in matches])
        found |= {f"box_{name}_{ending}": value for ending, value in zip(("AP", "AP50", "AP75"), values, strict=True)}
    return found


def match_boxes(truth: COCO, found: COCO) -> list[VocMatches]:
    """Match the detections of every class, by their ids.

    Unlike COCO's, a detection looks at the object that it overlaps most and at no other: if that is difficult, the detection
    does not count, and if an earlier one has it, it is a mistake.

    Parameters
    ----------
    truth, found : COCO
        From `experiments.tasks.average_precision.load`.
    """
    place = {image: index for index, image in enumerate(sorted(truth.imgs))}
    objects, detections = _grouped(truth), _grouped(found)
    return [_match_class(objects[category], detections[category], place) for category in sorted(truth.cats)]


def _grouped(coco: COCO) -> dict[int, dict[int, list[Entry]]]:
    entries: dict[int, dict[int, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in coco.dataset["annotations"]:
        entries[entry["category_id"]][entry["image_id"]].append(entry)
    return entries


def _match_class(objects: dict[int, list[Entry]], detections: dict[int, list[Entry]], place: dict[int, int]) -> VocMatches:
    count = np.zeros(len(place), np.int32)
    for image, wanted in objects.items():
        count[place[image]] = sum(not entry.get("iscrowd") for entry in wanted)
    none = np.zeros((len(IOU_THRESHOLDS), 0), np.bool_)
    parts: list[tuple[NDArray[Any], ...]] = [(np.zeros(0), np.zeros(0, np.int32), none, none)]
    for image in sorted(detections):
        got = sorted(detections[image], key=lambda entry: -entry["score"])
        scores = np.array([entry["score"] for entry in got])
        parts.append((scores, np.full(len(got), place[image], np.int32), *_match_image(got, objects.get(image, []))))
    all_scores, images, is_hit, is_counted = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    order = np.argsort(-all_scores, kind="stable")
    return VocMatches(images[order], is_hit[:, order], is_counted[:, order], count)


def _match_image(got: Sequence[Entry], wanted: Sequence[Entry]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    is_hit = np.zeros((len(IOU_THRESHOLDS), len(got)), np.bool_)
    if not wanted:
        return is_hit, ~is_hit
    overlap = mask_api.iou([d["bbox"] for d in got], [o["bbox"] for o in wanted], [0] * len(wanted))
    nearest, largest = overlap.argmax(axis=1), overlap.max(axis=1)
    is_difficult = np.array([bool(entry.get("iscrowd")) for entry in wanted])[nearest]
    overlaps = largest > IOU_THRESHOLDS[:, None]
    for flags, taken in zip(is_hit, overlaps & ~is_difficult, strict=True):
        found = np.flatnonzero(taken)
        flags[found[np.unique(nearest[found], return_index=True)[1]]] = True
    return is_hit, ~(overlaps & is_difficult)


def _precisions(of_class: VocMatches, average: Average) -> NDArray[np.float64]:
    """(T,) average precision of a class, from 0 to 1."""
    total = of_class.objects.sum()
    values = []
    for is_hit, is_counted in zip(of_class.is_hit, of_class.is_counted, strict=True):
        hits = np.cumsum(is_hit[is_counted])
        precision = hits / np.arange(1, len(hits) + 1)
        values.append(average(hits / total, precision))
    return np.array(values)


def _of_eleven_points(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    highest = [precision[recall >= point].max(initial=0.0) for point in ELEVEN_RECALLS]
    return float(sum(highest) / len(ELEVEN_RECALLS))


def _of_area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _means(precisions: Sequence[NDArray[np.float64]]) -> list[float | None]:
    """Means over classes: of all thresholds, of 0.5, of 0.75."""
    if not precisions:
        return [None] * 3
    by_threshold = 100 * np.mean(precisions, axis=0)
    return [float(by_threshold.mean()), float(by_threshold[0]), float(by_threshold[AT_75])]
