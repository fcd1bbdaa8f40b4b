"""Semantic segmentation: a class for every pixel, judged by the mean intersection over union."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.spec.run import Run
from experiments.tasks.images import test_resize, training_resize

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn

    from experiments.tasks.task import Breakdown, LevelReader, Task
    from experiments.tasks.true_label_maps import TrueLabelMaps

# Names as mmsegmentation logs them.
LOGGED = {"mIoU": "mIoU", "mean_accuracy": "mAcc", "pixel_accuracy": "aAcc"}
# Folder of the predicted label maps.
PREDICTIONS = "label_maps"
# Added to it for those of several scales, see `experiments.training.hooks.multi_scale_test`.
SUFFIX = "_multi_scale"
MULTI_SCALE = f"{PREDICTIONS}{SUFFIX}"
# Of a crop, that one class may have.
LARGEST_SHARE = 0.75


class SemanticSegmentation:
    """Labelling pixels, with mmsegmentation's segmentors."""

    imports: tuple[str, ...] = ("experiments.training.hooks.multi_scale_test",)
    class_heads: tuple[str, ...] = ("decode_head", "auxiliary_head")

    def train_dataset(self, run: Run) -> dict[str, Any]:
        """Images and label maps, resized and flipped at random, and as the schedule says cropped and distorted."""
        maps, schedule = run.scale.label_maps, run.scale.schedules[run.setting.schedule]
        steps = [_load_labels(run), training_resize(run)]
        if schedule.crop:
            steps.append({"type": "RandomCrop", "crop_size": schedule.crop, "cat_max_ratio": LARGEST_SHARE})
        steps.append({"type": "RandomFlip", "prob": 0.5})
        if schedule.photometric:
            steps.append({"type": "PhotoMetricDistortion"})
        return _split(run, maps.train_images, maps.train_maps, steps)

    def test_dataset(self, run: Run) -> dict[str, Any]:
        """Images in the scale's size, with label maps in their own."""
        steps = [test_resize(run), _load_labels(run)]
        maps = run.scale.label_maps
        return _split(run, maps.val_images, maps.val_maps, steps)

    def evaluator(self, run: Run) -> dict[str, Any]:
        """mmsegmentation's metric."""
        return {"_delete_": True, "type": "IoUMetric", "iou_metrics": ["mIoU"], "ignore_index": run.scale.label_maps.ignored}

    def validation_metrics(self, logged: Mapping[str, float]) -> dict[str, float]:
        """In percent, rounded to two digits as mmsegmentation logs them."""
        return {metric: logged[name] for metric, name in LOGGED.items() if name in logged}

    def keep_predictions(self, config: "Config", folder: Path) -> None:
        """Let the test write label maps: mmsegmentation's own numbers are rounded."""
        # mmsegmentation lets the first process make it, which another may be ahead of.
        for name in (PREDICTIONS, MULTI_SCALE):
            (folder / name).mkdir(exist_ok=True)
        config.test_evaluator.update(output_dir=str(folder / PREDICTIONS))

    def measure(self, config: "Config", logged: Mapping[str, float], folder: Path) -> dict[str, float | None]:
        """The metrics over all images together."""
        import numpy as np

        from experiments.tasks.true_label_maps import measure, stack

        maps = _true_maps(config)

        def measured(name: str, true_maps: "TrueLabelMaps") -> dict[str, Any]:
            images = true_maps.read_areas(folder / name)
            return measure({part: areas.sum(axis=0) for part, areas in stack(images.values()).items()}) if images else {}

        found, of_several = measured(PREDICTIONS, maps), measured(MULTI_SCALE, replace(maps, groups=None))
        if of_several:
            found["mIoU_multi_scale"] = of_several["mIoU"]
        return {name: None if np.isnan(value) else float(value) for name, value in found.items()}

    def breakdown(self, config: "Config", folder: Path) -> "Breakdown":
        """Label maps, the metrics on resamples of the images, and the intersection over union of each class."""
        from experiments.tasks.breakdowns.semantic_segmentation import break_down

        dataset = config.test_dataloader.dataset
        classes, zero = list(dataset.metainfo.classes), dataset.get("reduce_zero_label", False)
        found = _true_maps(config).read_areas(folder / PREDICTIONS)
        return break_down(found, classes, folder / PREDICTIONS, folder / "predictions.json", zero)

    def return_float32(self, model: "nn.Module") -> None:
        """Return logits in float32, in which the loss is computed."""
        from experiments.tasks.segmentor_precision import cast_heads_to_float32

        cast_heads_to_float32(model)

    def run_every_layer(self, model: "nn.Module", image: "Tensor") -> None:
        """Backbone, neck and decode head."""
        from experiments.tasks.costs.segmentor import run_every_layer

        run_every_layer(model, image)

    def level_readers(self, model: "nn.Module") -> "list[LevelReader]":
        """The decode head, where it names strides."""
        from experiments.tasks.costs.segmentor import level_readers

        return level_readers(model)

    def predict(self, model: "nn.Module", image: "Tensor") -> None:
        """The whole segmentor, up to a label for each pixel."""
        from experiments.tasks.costs.segmentor import predict

        predict(model, image)

    def random_batch(self, run: Run, model: "nn.Module", device: str) -> dict[str, Any]:
        """Images with a random label for each pixel."""
        from experiments.tasks.costs.segmentor import random_batch

        return random_batch(run, model, device)


def _true_maps(config: "Config") -> "TrueLabelMaps":
    from experiments.tasks.grouped_areas import Groups
    from experiments.tasks.true_label_maps import TrueLabelMaps

    dataset = config.test_dataloader.dataset
    # Not from the metainfo: it lies in checkpoints, which must be read without mmengine's mappings.
    spec = config.run_spec["dataset"]
    classes, categories, instances = list(dataset.metainfo.classes), spec.get("categories"), spec.get("instances") or {}
    return TrueLabelMaps(
        Path(dataset.data_root) / dataset.data_prefix.seg_map_path,
        dataset.img_suffix,
        dataset.seg_map_suffix,
        len(classes),
        config.test_evaluator.ignore_index,
        dataset.get("reduce_zero_label", False),
        Groups.of(classes, categories, instances.get("mean_pixels")) if categories else None,
        instances.get("map_ending"),
    )


def _load_labels(run: Run) -> dict[str, Any]:
    reduced = {"reduce_zero_label": True} if run.scale.label_maps.zero_is_ignored else {}
    return {"type": "LoadAnnotations", **reduced}


def _split(run: Run, images: str, maps: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    labels = run.scale.label_maps
    return {
        "_delete_": True,
        "type": "BaseSegDataset",
        "data_root": run.scale.data_folder,
        "data_prefix": {"img_path": images, "seg_map_path": maps},
        "img_suffix": labels.image_ending,
        "seg_map_suffix": labels.map_ending,
        "ignore_index": labels.ignored,
        **({"reduce_zero_label": True} if labels.zero_is_ignored else {}),
        "metainfo": {"classes": labels.classes},
        "pipeline": [{"type": "LoadImageFromFile"}, *steps, {"type": "PackSegInputs"}],
    }


TASK: "Task" = SemanticSegmentation()
