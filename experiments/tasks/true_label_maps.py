"""Files of predicted and of true label maps -> areas of each image -> metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.tasks.class_areas import (
    Areas,
    areas_of_image,
    maps_of_images,
    mean_intersection_over_union,
    read_labels,
    summarize,
)
from experiments.tasks.grouped_areas import Groups

# Names of metrics to areas, whose mean intersection over union they are.
ImageAreas = Mapping[str, Areas]


@dataclass(frozen=True)
class TrueLabelMaps:
    """The label maps with which predicted ones are compared.

    Attributes
    ----------
    folder : Path
        Where they lie, in subfolders or not.
    image_ending, map_ending : str
        What stands behind the name that an image and its map share.
    classes, ignored : int
        As for `experiments.tasks.class_areas.areas_of_image`.
    zero_is_ignored : bool
        Whether the files count classes from 1.
    groups : Groups or None
        Categories of classes, to be measured beside them.
    instance_ending : str or None
        As `map_ending`, of maps of instances beside the label maps.
    """

    folder: Path
    image_ending: str
    map_ending: str
    classes: int
    ignored: int
    zero_is_ignored: bool = False
    groups: Groups | None = None
    instance_ending: str | None = None

    def read_areas(self, predictions: Path) -> dict[str, ImageAreas]:
        """The areas of all images for which label maps were predicted.

        Parameters
        ----------
        predictions : Path
            Folder of predicted label maps, PNG, each with the name of its image.

        Returns
        -------
        dict
            Name of the image without its ending to ``mIoU``, areas of classes (3, K), and what `Groups.areas` gives; in the
            order of the names.
        """
        maps = maps_of_images(self.folder, self.image_ending, self.map_ending)
        return {path.stem: self._areas(path, maps[path.stem]) for path in sorted(predictions.glob("*.png"))}

    def _areas(self, prediction: Path, path: Path) -> ImageAreas:
        predicted, truth = (read_labels(file, self.zero_is_ignored) for file in (prediction, path))
        of_classes = {"mIoU": areas_of_image(predicted, truth, self.classes, self.ignored)}
        if self.groups is None:
            return of_classes
        return {**of_classes, **self.groups.areas(predicted, truth, self._instances(path), self.ignored)}

    def _instances(self, path: Path) -> NDArray[np.integer] | None:
        if self.instance_ending is None:
            return None
        with Image.open(path.with_name(path.name.removesuffix(self.map_ending) + self.instance_ending)) as image:
            return np.asarray(image)


def stack(images: Iterable[ImageAreas]) -> dict[str, Areas]:
    """The areas (N, 3, K) of N images, by metric; float64, in which sums of pixels are exact and products fast."""
    of_images = list(images)
    return {name: np.stack([areas[name] for areas in of_images]).astype(np.float64) for name in of_images[0]}


def measure(areas: ImageAreas) -> dict[str, NDArray[np.float64]]:
    """All metrics in percent.

    Parameters
    ----------
    areas : dict
        (..., 3, K), sums over images.
    """
    of_groups = {name: mean_intersection_over_union(part) for name, part in areas.items() if name != "mIoU"}
    return {**summarize(areas["mIoU"]), **of_groups}
