"""Detections -> average precision, at full precision and with the scale's own object sizes."""

import json
from pathlib import Path

from faster_coco_eval import COCO, COCOeval_faster

from experiments.spec.metrics import AVERAGE_PRECISIONS

IOU_TYPES = {"box": "bbox", "mask": "segm"}
LARGEST_AREA = 1e10


def average_precision(
    annotations: Path, detections: Path, kind: str, object_sizes: tuple[float, float] = (32, 96)
) -> dict[str, float | None]:
    """COCO's six average precisions in percent.

    Parameters
    ----------
    annotations : Path
        Ground truth, COCO's ``instances`` format.
    detections : Path
        Detections, COCO's result format.
    kind : {'box', 'mask'}
        Kind of prediction.
    object_sizes : (float, float)
        Square roots, in pixels, of the areas between small, medium and large objects; COCO's are 32 and 96.

    Returns
    -------
    dict
        AP, AP50, AP75, APS, APM, APL with `kind` and an underscore before each name. None where no object has that size.
    """
    values = summarize(*load(annotations, detections, kind), kind, object_sizes)[: len(AVERAGE_PRECISIONS)]
    named = zip(AVERAGE_PRECISIONS, values, strict=True)
    return {f"{kind}_{name}": None if value < 0 else 100 * value for name, value in named}


def load(annotations: Path, detections: Path, kind: str = "box") -> tuple[COCO, COCO]:
    """Read ground truth and detections, arguments as for `average_precision`.

    The size of a detected mask is its number of pixels. If a detection also has a box, COCO's code would use the box's area and
    count small objects as medium and medium ones as large.
    """
    truth = COCO(annotations)
    if kind == "box":
        return truth, truth.loadRes(detections)
    found = json.loads(detections.read_bytes())
    return truth, truth.loadRes([{key: value for key, value in entry.items() if key != "bbox"} for entry in found])


def summarize(truth: COCO, found: COCO, kind: str, object_sizes: tuple[float, float]) -> list[float]:
    """The twelve numbers of COCO's evaluation, those that pycocotools computes too.

    Parameters
    ----------
    truth, found : COCO
        Annotations and detections, from `load`.
    kind, object_sizes
        As for `average_precision`.

    Returns
    -------
    list of float
        Six average precisions, then the average recalls with 1, 10 and 100 detections of an image and those of small, medium
        and large objects; from 0 to 1, or -1 where no object has that size.
    """
    small, medium = (side**2 for side in object_sizes)
    areas = {"small": [0, small], "medium": [small, medium], "large": [medium, LARGEST_AREA]}
    evaluation = COCOeval_faster(truth, found, IOU_TYPES[kind], areas)
    evaluation.run()
    return [float(value) for value in evaluation.stats]
