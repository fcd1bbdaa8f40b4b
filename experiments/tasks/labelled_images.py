"""Images with one label each: the dataset, what a pipeline ends with, and the metric, in mmdetection's registries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.image import imresize
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.structures import BaseDataElement
from numpy.typing import NDArray

from experiments.spec.dataset_files import LabelledImages

TOP = 5


@DATASETS.register_module()
class LabelledImageFolders(BaseDataset):
    """A folder for each class; mmengine's dataset with ``data_prefix: {img_path: …}``."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """Path, label and name of every image."""
        folder = Path(self.data_prefix["img_path"])
        return [
            {"img_path": str(file), "label": label, "img_id": f"{place.name}/{file.name}"}
            for label, place in enumerate(LabelledImages.class_folders(folder))
            for file in LabelledImages.images_of_class(place)
        ]


@TRANSFORMS.register_module()
class PackLabelledImage(BaseTransform):
    """The end of a pipeline: a tensor (3, H, W), and a sample with the label."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack an image.

        Parameters
        ----------
        results : dict
            Of a pipeline.
        """
        image = torch.from_numpy(np.ascontiguousarray(results["img"].transpose(2, 0, 1)))
        sample = BaseDataElement(metainfo={"img_id": results["img_id"]}, label=torch.tensor(results["label"]))
        return {"inputs": image, "data_samples": sample}


@TRANSFORMS.register_module()
class PaddedCrop(BaseTransform):
    """A part of the image's own size, cut out at random of the image with black around it.

    Parameters
    ----------
    padding : int
        Pixels on each side.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop an image.

        Parameters
        ----------
        results : dict
            Of a pipeline.
        """
        height, width = results["img"].shape[:2]
        padded = np.pad(results["img"], ((self.padding,) * 2, (self.padding,) * 2, (0, 0)))
        top, left = np.random.randint(0, 2 * self.padding + 1, 2)
        results["img"] = padded[top : top + height, left : left + width]
        return results


@TRANSFORMS.register_module()
class MiddleCrop(BaseTransform):
    """The middle of an image whose shorter side was resized.

    Parameters
    ----------
    size : (int, int)
        Height and width in pixels.
    share : float
        Of the shorter side that the middle has.
    """

    def __init__(self, size: tuple[int, int], share: float = 0.875) -> None:
        self.size = tuple(size)
        self.share = share

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop an image.

        Parameters
        ----------
        results : dict
            Of a pipeline.
        """
        height, width = results["img"].shape[:2]
        factor = max(self.size) / self.share / min(height, width)
        image = imresize(results["img"], (round(width * factor), round(height * factor)))
        top, left = ((side - wanted) // 2 for side, wanted in zip(image.shape[:2], self.size, strict=True))
        results["img"] = image[top : top + self.size[0], left : left + self.size[1]]
        results["img_shape"] = self.size
        return results


@METRICS.register_module()
class TopErrors(BaseMetric):
    """Top-1 and top-5 error in percent.

    Parameters
    ----------
    output : str, optional
        File for the predictions, JSON: for each image its name, label, and the classes of highest score, best first.
    """

    default_prefix = "classification"

    def __init__(self, output: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.output = output

    def process(self, data_batch: object, data_samples: Sequence[dict[str, Any]]) -> None:
        """Note the best classes of each image."""
        for sample in data_samples:
            best = sample["scores"].topk(min(TOP, len(sample["scores"]))).indices.tolist()
            self.results.append({"image": sample["img_id"], "label": int(sample["label"]), "best": best})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The errors over all images."""
        if self.output:
            dump(results, self.output)
        return {name: 100 * float(np.mean(wrong)) for name, wrong in wrong_images(results).items()}


def wrong_images(predictions: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.bool_]]:
    """For each error whether an image counts, (I,).

    Parameters
    ----------
    predictions : sequence of dict
        ``label`` and ``best`` of each image.
    """
    return {
        "top1_error": np.array([entry["label"] != entry["best"][0] for entry in predictions], bool),
        "top5_error": np.array([entry["label"] not in entry["best"] for entry in predictions], bool),
    }
