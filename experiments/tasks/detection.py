"""Detection: the boxes of objects, judged by COCO's average precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.spec.known_classes import COCO_CLASSES
from experiments.spec.run import Run
from experiments.tasks.images import test_resize, training_resize

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn

    from experiments.tasks.task import Breakdown, LevelReader, Task

# Kind -> its name in mmdetection's result files and logs.
FILE_SUFFIXES = {"box": "bbox", "mask": "segm"}


@dataclass(frozen=True)
class ObjectDetection:
    """Finding objects, with mmdetection's detectors.

    Parameters
    ----------
    kinds : tuple of {'box', 'mask'}
        Predictions per object.
    """

    kinds: tuple[str, ...]
    imports: tuple[str, ...] = ()
    class_heads: tuple[str, ...] = ("bbox_head", "mask_head", "point_head", "panoptic_head", "panoptic_fusion_head")

    def train_dataset(self, run: Run) -> dict[str, Any]:
        """Objects, and for detectors that learn from them, maps of stuff and things."""
        scale, detector = run.scale, run.scale.detectors[run.setting.detector]
        stuff_maps = {"with_seg": True} if detector.stuff_maps else {}
        polygons = {"poly2mask": False} if detector.masks and scale.schedules[run.setting.schedule].polygons else {}
        pipeline: list[dict[str, Any]] = [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "with_bbox": True, "with_mask": detector.masks, **polygons, **stuff_maps},
            training_resize(run),
            *_crop(run),
            {"type": "RandomFlip", "prob": 0.5},
            *_albumentations(run),
            {"type": "PackDetInputs"},
        ]
        dataset = _split(run, scale.objects.train_annotations, scale.objects.train_images, pipeline)
        if detector.stuff_maps:
            dataset["data_prefix"]["seg"] = scale.objects.train_stuff_maps
        return dataset

    def test_dataset(self, run: Run) -> dict[str, Any]:
        """Images alone: the evaluator reads their annotations itself."""
        pipeline: list[dict[str, Any]] = [
            {"type": "LoadImageFromFile"},
            test_resize(run),
            {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
        ]
        return _split(run, run.scale.objects.val_annotations, run.scale.objects.val_images, pipeline)

    def evaluator(self, run: Run) -> dict[str, Any]:
        """The same numbers as mmdetection's CocoMetric, about five times faster."""
        return {"type": "FasterCocoMetric", "ann_file": run.scale.data_folder + run.scale.objects.val_annotations}

    def validation_metrics(self, logged: Mapping[str, float]) -> dict[str, float]:
        """Average precisions in percent."""
        names = {f"{kind}_AP": f"coco/{FILE_SUFFIXES[kind]}_mAP" for kind in self.kinds}
        return {metric: 100 * logged[name] for metric, name in names.items() if name in logged}

    def keep_predictions(self, config: "Config", folder: Path) -> None:
        """Let the test write detections: mmdetection's own numbers are rounded, and know COCO's object sizes alone."""
        config.test_evaluator.update(format_only=True, outfile_prefix=str(folder / "detections"))

    def measure(self, config: "Config", logged: Mapping[str, float], folder: Path) -> dict[str, float | None]:
        """COCO's average precisions with the scale's object sizes, and those of other protocols that it asks for."""
        from experiments.tasks.average_precision import average_precision

        annotations, sizes = Path(config.test_evaluator.ann_file), tuple(config.run_spec["object_sizes"])
        metrics: dict[str, float | None] = {}
        for kind in self.kinds:
            detections = folder / f"detections.{FILE_SUFFIXES[kind]}.json"
            metrics |= average_precision(annotations, detections, kind, sizes) if detections.exists() else {}
        if config.get("protocols") and metrics:
            from experiments.tasks.protocols import PRECISIONS

            for protocol in config.protocols:
                metrics |= PRECISIONS[protocol](annotations, folder / f"detections.{FILE_SUFFIXES['box']}.json")
        return metrics

    def breakdown(self, config: "Config", folder: Path) -> "Breakdown":
        """Detections, COCO's average precisions on resamples of the images, and those of each class."""
        from experiments.tasks.breakdowns.detection import break_down
        from experiments.tasks.task import Breakdown

        annotations, sizes = Path(config.test_evaluator.ann_file), tuple(config.run_spec["object_sizes"])
        files = {kind: folder / f"detections.{FILE_SUFFIXES[kind]}.json" for kind in self.kinds}
        found = {kind: path for kind, path in files.items() if path.exists()}
        if not found:
            return Breakdown()
        return break_down(annotations, found, sizes, config.get("protocols", ()))

    def return_float32(self, model: "nn.Module") -> None:
        """Pool RoIs and return predictions in float32: mmcv's RoIAlign and NMS have no bfloat16."""
        from experiments.tasks.detector_precision import cast_heads_to_float32

        cast_heads_to_float32(model)

    def run_every_layer(self, model: "nn.Module", image: "Tensor") -> None:
        """All heads, on as many RoIs as the test settings allow."""
        from experiments.tasks.costs.detector import run_every_layer

        run_every_layer(model, image)

    def level_readers(self, model: "nn.Module") -> "list[LevelReader]":
        """The head with anchors or points, and the RoI heads."""
        from experiments.tasks.costs.detector import level_readers

        return level_readers(model)

    def predict(self, model: "nn.Module", image: "Tensor") -> None:
        """The whole detector, with proposals and RoI pooling."""
        from experiments.tasks.costs.detector import predict

        predict(model, image)

    def random_batch(self, run: Run, model: "nn.Module", device: str) -> dict[str, Any]:
        """Images with about as many objects as those of COCO."""
        from experiments.tasks.costs.detector import random_batch

        return random_batch(run, model, device)


def _crop(run: Run) -> list[dict[str, Any]]:
    """A part of each image, which may have no object, without what is no longer seen of objects."""
    crop = run.scale.schedules[run.setting.schedule].crop
    if crop is None:
        return []
    options = {"crop_size": crop, "crop_type": "absolute", "recompute_bbox": True, "allow_negative_crop": True}
    seen = {"type": "FilterAnnotations", "min_gt_bbox_wh": (1e-5, 1e-5), "by_mask": True}
    return [{"type": "RandomCrop", **options}, seen]


def _albumentations(run: Run) -> list[dict[str, Any]]:
    """Transforms of albumentations, for boxes alone."""
    transforms = run.scale.schedules[run.setting.schedule].albumentations
    if not transforms:
        return []
    of_boxes = {"type": "BboxParams", "format": "pascal_voc", "label_fields": ["gt_bboxes_labels", "gt_ignore_flags"]}
    return [
        {
            "type": "SeededAlbu",
            "transforms": transforms,
            "bbox_params": {**of_boxes, "min_visibility": 0.0, "filter_lost_elements": True},
            "keymap": {"img": "image", "gt_bboxes": "bboxes"},
            "skip_img_without_anno": True,
        }
    ]


def _split(run: Run, annotations: str, images: str, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    classes = {"metainfo": {"classes": run.scale.classes}} if run.scale.classes != list(COCO_CLASSES) else {}
    return {
        "data_root": run.scale.data_folder,
        "ann_file": annotations,
        "data_prefix": {"img": images},
        **classes,
        "pipeline": pipeline,
    }


TASK: "Task" = ObjectDetection(("box",))
