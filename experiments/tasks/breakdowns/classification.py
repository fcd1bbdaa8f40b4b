"""What stands behind the errors of a run: each image's best classes, resamples of the images, classes."""

import json
from pathlib import Path

import numpy as np

from experiments.bootstrap.resamples import draw_weights
from experiments.spec.dataset_files import LabelledImages
from experiments.tasks.labelled_images import wrong_images
from experiments.tasks.task import Breakdown


def break_down(predictions: Path, folder: Path) -> Breakdown:
    """Measure resamples and classes.

    Parameters
    ----------
    predictions : Path
        What the test has written.
    folder : Path
        Folder of the classes' folders of the test images.
    """
    entries = sorted(json.loads(predictions.read_bytes()), key=lambda entry: entry["image"])
    wrong = wrong_images(entries)
    weights = draw_weights([entry["image"] for entry in entries]).astype(np.float64)
    replicates = {name: 100 * weights @ flags / len(entries) for name, flags in wrong.items()}
    replicates["accuracy"] = 100 - replicates["top1_error"]
    labels = np.array([entry["label"] for entry in entries])
    classes: dict[str, dict[str, float | None]] = {}
    for label, place in enumerate(LabelledImages.class_folders(folder)):
        of_class = wrong["top1_error"][labels == label]
        classes[place.name] = {"accuracy": 100 * float(1 - of_class.mean()) if len(of_class) else None}
    return Breakdown(predictions, replicates, classes)
