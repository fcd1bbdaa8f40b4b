"""Average precisions of boxes by other rules than COCO's: those of PASCAL VOC and of VisDrone."""

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.tasks.protocols import visdrone, voc

# By their names in `experiments.spec.metrics.PROTOCOLS`: annotations and detections -> metrics in percent.
PRECISIONS: Mapping[str, Callable[[Path, Path], dict[str, float | None]]] = {
    "voc": voc.average_precision,
    "visdrone": visdrone.average_precision,
}
