"""Panoptic segmentation: objects and stuff together, judged by panoptic quality (arXiv 1801.00868)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.spec.run import Run
from experiments.tasks.detection import ObjectDetection
from experiments.tasks.images import test_resize, training_resize

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn

    from experiments.tasks.task import Breakdown, LevelReader, Task

# Files of the predictions, without their endings.
SEGMENTS, DETECTIONS = "segments", "detections"
LOGGED = ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "mIoU")
OBJECTS = ObjectDetection(("box", "mask"))


class PanopticSegmentation:
    """Segmenting objects and stuff, with mmdetection's panoptic models."""

    imports: tuple[str, ...] = ("experiments.tasks.panoptic_parts",)
    class_heads: tuple[str, ...] = ("bbox_head", "mask_head", "semantic_head", "panoptic_fusion_head")

    def train_dataset(self, run: Run) -> dict[str, Any]:
        """Objects and stuff from panoptic maps, on images with and without objects."""
        steps = [{"type": "LoadSegments"}, training_resize(run), {"type": "RandomFlip", "prob": 0.5}, {"type": "PackDetInputs"}]
        files = run.scale.panoptic
        dataset = _split(run, files.train_annotations, run.scale.objects.train_images, files.train_maps, steps)
        return {**dataset, "filter_cfg": {"filter_empty_gt": False, "min_size": 32}}

    def test_dataset(self, run: Run) -> dict[str, Any]:
        """Images alone: the evaluators read their annotations themselves."""
        keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        files = run.scale.panoptic
        steps = [test_resize(run), {"type": "PackDetInputs", "meta_keys": keys}]
        return _split(run, files.val_annotations, run.scale.objects.val_images, files.val_maps, steps)

    def evaluator(self, run: Run) -> list[dict[str, Any]]:
        """Panoptic quality, and COCO's average precisions of the instances before fusion."""
        files, folder = run.scale.panoptic, run.scale.data_folder
        segments = {"ann_file": folder + files.val_annotations, "maps": folder + files.val_maps, "things": len(files.things)}
        objects = {"ann_file": folder + run.scale.objects.val_annotations, "metric": ["bbox", "segm"]}
        return [{"type": "PanopticQualityMetric", **segments}, {"type": "FasterCocoMetric", **objects}]

    def validation_metrics(self, logged: Mapping[str, float]) -> dict[str, float]:
        """In percent."""
        found = {name: logged[f"panoptic/{name}"] for name in LOGGED if f"panoptic/{name}" in logged}
        return found | OBJECTS.validation_metrics(logged)

    def keep_predictions(self, config: "Config", folder: Path) -> None:
        """Let the test write segments with the counts of each image, and detections."""
        segments, objects = config.test_evaluator
        segments.output = str(folder / SEGMENTS)
        objects.update(format_only=True, outfile_prefix=str(folder / DETECTIONS))

    def measure(self, config: "Config", logged: Mapping[str, float], folder: Path) -> dict[str, float | None]:
        """Panoptic qualities over all images together, and average precisions with the scale's object sizes."""
        import numpy as np

        from experiments.tasks.panoptic_parts import qualities_and_iou

        counted = np.load(folder / f"{SEGMENTS}.npz")
        sums = counted["counts"].sum(axis=0), counted["areas"].sum(axis=0)
        found = qualities_and_iou(*sums, config.test_evaluator[0].things)
        metrics = {name: None if np.isnan(value) else float(value) for name, value in found}
        return metrics | OBJECTS.measure(_of_objects(config), logged, folder)

    def breakdown(self, config: "Config", folder: Path) -> "Breakdown":
        """Segments, the metrics on resamples of the images, and the panoptic quality of each class."""
        from experiments.tasks.breakdowns.panoptic_segmentation import break_down

        objects = OBJECTS.breakdown(_of_objects(config), folder)
        classes = list(config.test_dataloader.dataset.metainfo.classes)
        return break_down(folder / SEGMENTS, classes, config.test_evaluator[0].things, objects)

    def return_float32(self, model: "nn.Module") -> None:
        """As for detectors, and the logits of the semantic head."""
        from experiments.tasks.detector_precision import cast_heads_to_float32

        cast_heads_to_float32(model)

    def run_every_layer(self, model: "nn.Module", image: "Tensor") -> None:
        """All heads, on as many RoIs as the test settings allow."""
        from experiments.tasks.costs.panoptic import run_every_layer

        run_every_layer(model, image)

    def level_readers(self, model: "nn.Module") -> "list[LevelReader]":
        """The head with anchors, and the RoI heads; the semantic head names no strides."""
        return OBJECTS.level_readers(model)

    def predict(self, model: "nn.Module", image: "Tensor") -> None:
        """The whole detector and the semantic head; what is fused depends on what was detected, and is left out."""
        from experiments.tasks.costs.panoptic import predict

        predict(model, image)

    def random_batch(self, run: Run, model: "nn.Module", device: str) -> dict[str, Any]:
        """Images with about as many objects as those of COCO, and a random label for each pixel."""
        from experiments.tasks.costs.panoptic import random_batch

        return random_batch(run, model, device)


def _of_objects(config: "Config") -> "Config":
    """The config as the task of its objects has it."""
    from mmengine.config import Config

    return Config({"test_evaluator": config.test_evaluator[1], "run_spec": config.run_spec})


def _split(run: Run, annotations: str, images: str, maps: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    files = run.scale.panoptic
    names = {"classes": [*files.things, *files.stuff], "thing_classes": files.things, "stuff_classes": files.stuff}
    return {
        "data_root": run.scale.data_folder,
        "ann_file": annotations,
        "data_prefix": {"img": images, "seg": maps},
        "metainfo": names,
        "pipeline": [{"type": "LoadImageFromFile"}, *steps],
    }


TASK: "Task" = PanopticSegmentation()
