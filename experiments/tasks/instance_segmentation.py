"""Instance segmentation: the boxes and masks of objects, judged by COCO's average precision."""

from typing import TYPE_CHECKING

from experiments.tasks.detection import ObjectDetection

if TYPE_CHECKING:
    from experiments.tasks.task import Task

TASK: "Task" = ObjectDetection(("box", "mask"))
