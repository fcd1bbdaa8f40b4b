"""Classification: one label for an image, judged by the share of wrong ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.spec.run import Run

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn

    from experiments.tasks.task import Breakdown, LevelReader, Task

PREDICTIONS = "predictions.json"


class Classification:
    """Labelling images, with this project's classifier."""

    imports: tuple[str, ...] = ("experiments.tasks.labelled_images",)
    class_heads: tuple[str, ...] = ()

    def train_dataset(self, run: Run) -> dict[str, Any]:
        """Images as the schedule changes them."""
        return _split(run, run.scale.labelled_images.train, _training_steps(run))

    def test_dataset(self, run: Run) -> dict[str, Any]:
        """Images in their own size, or the middle of them."""
        return _split(run, run.scale.labelled_images.val, _test_steps(run))

    def evaluator(self, run: Run) -> dict[str, Any]:
        """Both errors."""
        return {"type": "TopErrors"}

    def validation_metrics(self, logged: Mapping[str, float]) -> dict[str, float]:
        """In percent."""
        names = {"top1_error": "classification/top1_error", "top5_error": "classification/top5_error"}
        return {metric: logged[name] for metric, name in names.items() if name in logged}

    def keep_predictions(self, config: "Config", folder: Path) -> None:
        """Let the test write each image's best classes."""
        config.test_evaluator.update(output=str(folder / PREDICTIONS))

    def measure(self, config: "Config", logged: Mapping[str, float], folder: Path) -> dict[str, float | None]:
        """What the test has logged, and the share of right images."""
        found: dict[str, float | None] = dict(self.validation_metrics(logged))
        error = found.get("top1_error")
        return {**found, "accuracy": None if error is None else 100 - error}

    def breakdown(self, config: "Config", folder: Path) -> "Breakdown":
        """The best classes of each image, the errors on resamples of the images, and the accuracy of each class."""
        from experiments.tasks.breakdowns.classification import break_down

        return break_down(folder / PREDICTIONS, Path(config.test_dataloader.dataset.data_root) / _images(config))

    def return_float32(self, model: "nn.Module") -> None:
        """The classifier computes its loss in float32 itself."""

    def run_every_layer(self, model: "nn.Module", image: "Tensor") -> None:
        """Backbone, neck and the linear layer."""
        model(image)

    def level_readers(self, model: "nn.Module") -> "list[LevelReader]":
        """None: the mean is taken of a level of any stride."""
        return []

    def predict(self, model: "nn.Module", image: "Tensor") -> None:
        """The whole classifier."""
        model(image)

    def random_batch(self, run: Run, model: "nn.Module", device: str) -> dict[str, Any]:
        """Images with random labels."""
        from experiments.tasks.costs.classifier import random_batch

        return random_batch(run, model, device)


def _images(config: "Config") -> str:
    return str(config.test_dataloader.dataset.data_prefix.img_path)


def _training_steps(run: Run) -> list[dict[str, Any]]:
    """What the schedule does with each image; without anything the image as it is, mirrored at random."""
    schedule = run.scale.schedules[run.setting.schedule]
    if schedule.albumentations:
        return [{"type": "SeededAlbu", "transforms": schedule.albumentations, "keymap": {"img": "image"}}]
    padded = [{"type": "PaddedCrop", "padding": schedule.padding}] if schedule.padding else []
    return [*padded, {"type": "RandomFlip", "prob": 0.5}]


def _test_steps(run: Run) -> list[dict[str, Any]]:
    crop = run.scale.schedules[run.setting.schedule].crop
    return [{"type": "MiddleCrop", "size": crop}] if crop else []


def _split(run: Run, folder: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "LabelledImageFolders",
        "data_root": run.scale.data_folder,
        "data_prefix": {"img_path": folder},
        "pipeline": [{"type": "LoadImageFromFile"}, *steps, {"type": "PackLabelledImage"}],
    }


TASK: "Task" = Classification()
