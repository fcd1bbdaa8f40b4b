"""Detections -> average precision, at full precision and with the scale's own object sizes."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APS", "APM", "APL")


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
        What is compared.
    object_sizes : (float, float)
        Square roots, in pixels, of the areas between small, medium and large objects; COCO's are 32 and 96.

    Returns
    -------
    dict
        AP, AP50, AP75, APS, APM, APL with `kind` and an underscore before each name. None where no object has that size.
    """
    with redirect_stdout(StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, _load_detections(truth, detections), {"box": "bbox", "mask": "segm"}[kind])
        small, medium = (side**2 for side in object_sizes)
        evaluation.params.areaRng = [[0, 1e10], [0, small], [small, medium], [medium, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = (float(value) for value in evaluation.stats[: len(NAMES)])
    return {f"{kind}_{name}": None if value < 0 else 100 * value for name, value in zip(NAMES, values, strict=True)}


def _load_detections(truth: COCO, path: Path) -> COCO:
    if path.read_text().strip() != "[]":
        return truth.loadRes(str(path))
    nothing = COCO()
    nothing.dataset = {**truth.dataset, "annotations": []}
    nothing.createIndex()
    return nothing
