"""VisDrone's average precision, of 500 detections of an image, and the one of papers that measure it with mmdetection."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from experiments.tasks.average_precision import load

MOST_DETECTIONS = 500
# mmdetection takes its first average of these, as COCO does, and those of one overlap of all that it has.
COCOS_MOST_DETECTIONS = 100
AT_75 = 5


def average_precision(annotations: Path, detections: Path) -> dict[str, float | None]:
    """Average precisions in percent, over overlaps from 0.5 to 0.95, of 0.5 and of 0.75.

    Parameters
    ----------
    annotations : Path
        Ground truth in COCO's ``instances`` format; ignored regions have ``iscrowd`` in every class.
    detections : Path
        Detections, COCO's result format.

    Returns
    -------
    dict
        ``box_VisDrone_AP`` and the same ending in 50 and 75, where what is found in ignored regions does not count, and
        ``box_mmdet_VisDrone_AP`` and so on, where it is a mistake. None without any object.
    """
    truth, found = load(annotations, detections)
    own = _precisions(truth, found, (MOST_DETECTIONS,) * 3)
    of_papers = _precisions(without_crowds(truth), found, (COCOS_MOST_DETECTIONS, MOST_DETECTIONS, MOST_DETECTIONS))
    return {
        f"box_{name}_{ending}": value
        for name, values in (("VisDrone", own), ("mmdet_VisDrone", of_papers))
        for ending, value in zip(("AP", "AP50", "AP75"), values, strict=True)
    }


def without_crowds(truth: COCO) -> COCO:
    """The same images and objects, without regions that are ignored.

    Parameters
    ----------
    truth : COCO
        Annotations.
    """
    kept = [entry for entry in truth.dataset["annotations"] if not entry.get("iscrowd")]
    return COCO({**truth.dataset, "annotations": kept})


def _precisions(truth: COCO, found: COCO, most_detections: Sequence[int]) -> list[float | None]:
    """Mean over all overlaps, of 0.5 and of 0.75, each of so many detections of an image."""
    evaluation = COCOeval_faster(truth, found, "bbox")
    limits = sorted(set(most_detections))
    evaluation.params.maxDets = limits
    evaluation.evaluate()
    evaluation.accumulate()
    # Overlap, recall, class, size of the objects, limit.
    of_all_sizes = np.asarray(evaluation.eval["precision"])[:, :, :, 0]
    of_all, at_50, at_75 = (of_all_sizes[..., limits.index(limit)] for limit in most_detections)
    return [_mean(precision) for precision in (of_all, at_50[0], at_75[AT_75])]


def _mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return 100 * float(known.mean()) if known.size else None
