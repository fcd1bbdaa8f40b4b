"""What panoptic segmentation adds to mmdetection's pipelines and evaluators: segments loaded, and measured at full precision.

mmdetection's own parts for it need panopticapi, of which no release allows the numpy that OpenCV and mmcv allow.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations, LoadPanopticAnnotations
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import METRICS, TRANSFORMS
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from experiments.tasks.class_areas import areas_of_image
from experiments.tasks.class_areas import summarize as summarize_areas
from experiments.tasks.panoptic_quality import counts_of_image, summarize
from experiments.tasks.segments import VOID, Segment, read_map, read_segments, rgb_to_id

IGNORED = 255


@TRANSFORMS.register_module()
class LoadSegments(LoadPanopticAnnotations):
    """Load boxes, masks and labels of pixels from a panoptic map, as `LoadPanopticAnnotations` does with panopticapi."""

    def __init__(self) -> None:
        LoadAnnotations.__init__(self, with_bbox=True, with_label=True, with_mask=True, with_seg=True)
        self.rgb2id = rgb_to_id


@METRICS.register_module()
class PanopticQualityMetric(BaseMetric):
    """Panoptic quality of the fused segments, and mean intersection over union of the semantic head.

    Parameters
    ----------
    ann_file : str
        Annotations in COCO's panoptic format.
    maps : str
        Folder of their maps.
    things : int
        Number of the classes that are things; they come first.
    output : str, optional
        File without its ending that receives the counts of each image (``.npz``) and the predicted segments (``.json``).
    """

    default_prefix = "panoptic"

    def __init__(self, ann_file: str, maps: str, things: int, output: str | None = None) -> None:
        super().__init__()
        self.ann_file, self.maps, self.things, self.output = Path(ann_file), Path(maps), things, output

    @property
    def classes(self) -> list[str]:
        """Names of the classes by their labels."""
        return list(self.dataset_meta["classes"])

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count matches and pixels of images.

        Parameters
        ----------
        data_batch : object
            Not read.
        data_samples : sequence of dict
            With ``pred_panoptic_seg`` and ``pred_sem_seg``.
        """
        if not hasattr(self, "truths"):
            self.truths = read_segments(self.ann_file, self.classes)
        for sample in data_samples:
            truth = self.truths[sample["img_id"]]
            identifiers = read_map(self.maps / truth.map_name)
            fused = sample["pred_panoptic_seg"]["sem_seg"][0].cpu().numpy()
            segments = _segments(fused, len(self.classes))
            predicted = np.where(fused % INSTANCE_OFFSET < len(self.classes), fused + 1, VOID)
            counts = counts_of_image(predicted, segments, identifiers, truth.segments, len(self.classes))
            stuff = len(self.classes) - self.things
            labels = _labels_with_one_thing(identifiers, truth.segments, self.things, stuff)
            areas = areas_of_image(sample["pred_sem_seg"]["sem_seg"][0].cpu().numpy(), labels, stuff + 1, IGNORED)
            entries = _encode(sample["img_id"], predicted, segments) if self.output else []
            self.results.append((sample["img_id"], counts, areas, entries))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The metrics in per cent.

        Parameters
        ----------
        results : list
            From `process`, of all images.
        """
        identifiers = [image for image, *_ in results]
        counts, areas = (np.stack([result[part] for result in results]) for part in (1, 2))
        if self.output:
            np.savez(f"{self.output}.npz", images=identifiers, counts=counts, areas=areas)
            entries = [entry for *_, of_image in results for entry in of_image]
            Path(f"{self.output}.json").write_text(json.dumps(entries), encoding="utf-8")
        return {name: float(value) for name, value in qualities_and_iou(counts.sum(axis=0), areas.sum(axis=0), self.things)}


def qualities_and_iou(counts: NDArray[np.float64], areas: NDArray[Any], things: int) -> list[tuple[str, NDArray[np.float64]]]:
    """The metrics of `PanopticQualityMetric` from sums over images, or over resamples of them.

    Parameters
    ----------
    counts : array
        (..., 4, K), see `experiments.tasks.panoptic_quality`.
    areas : array
        (..., 3, stuff + 1), see `experiments.tasks.class_areas`.
    things : int
        Number of the classes that are things.
    """
    return [*summarize(counts, things).items(), ("mIoU", summarize_areas(areas)["mIoU"])]


def _segments(fused: NDArray[np.integer[Any]], classes: int) -> dict[int, Segment]:
    """The predicted segments by their ids, which are mmdetection's and one more, for 0 is no segment."""
    return {
        int(value) + 1: Segment(int(value % INSTANCE_OFFSET)) for value in np.unique(fused) if value % INSTANCE_OFFSET < classes
    }


def _labels_with_one_thing(
    identifiers: NDArray[np.integer[Any]], segments: dict[int, Segment], things: int, stuff: int
) -> NDArray[np.int64]:
    """Labels (H, W): stuff from 0, then all things as one class, crowds with them, as PanopticFPN's semantic head has them."""
    labels = np.full(identifiers.shape, IGNORED)
    for identifier, segment in segments.items():
        labels[identifiers == identifier] = stuff if segment.label < things else segment.label - things
    return labels


def _encode(image: int, identifiers: NDArray[np.integer[Any]], segments: dict[int, Segment]) -> list[dict[str, Any]]:
    entries = []
    for identifier, segment in segments.items():
        encoded = mask_api.encode(np.asfortranarray(identifiers == identifier, dtype=np.uint8))
        mask = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        entries.append({"image_id": image, "segment": segment.label, "segmentation": mask})
    return entries
