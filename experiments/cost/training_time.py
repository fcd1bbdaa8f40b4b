"""How long trainings take: recorded by earlier runs, measured by a probe, or assumed from the multiply-adds of the model."""

import hashlib
import json
import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from experiments.cost.gpu_types import DEFAULT_GPU, GPU_TYPES
from experiments.paths import COMPLEXITY
from experiments.records.cost_files import Counts, Measurement, Measurements, read_costs
from experiments.records.recorded_times import RecordedTimes, evaluations_of_schedule, model_key
from experiments.records.run_status import RunReader, RunStatus
from experiments.spec.dataset_identity import read_identity
from experiments.spec.run import Run
from experiments.workflow.grid import Grid

Source = Literal["recorded", "measured", "assumed"]
SOURCES: tuple[Source, ...] = ("recorded", "measured", "assumed")
# Training images of train2017 with objects; mmdetection drops the others of the 118,287.
COCO_IMAGES, COCO_IMAGES_WITH_OBJECTS, COCO_VAL_IMAGES = 118_287, 117_266, 5_000
# Largest annotation file that is read, in about a second; COCO's own is 20 times as large.
SMALL_ANNOTATIONS = 2**25
# FLOPs of training per multiply-add: forward, backward for features, backward for weights, two each.
FLOPS_PER_MULTIPLY_ADD = 3 * 2
# Evaluation time per image, as a share of training time (forward pass only).
SHARE_OF_EVALUATION = 1 / 3
CPU_RATE = 5.4e10
CPU_SOURCE = (
    "fitted to FPN on cores of an AMD EPYC: 0.15 s for a step of 8 images at scale demo, 9 minutes for a run at tiny_coco"
)
CPU_SECONDS_PER_IMAGE = 0.01
# Thousands of multiply-adds per pixel of R-50 with FPN or the model's own pyramid at width 256, counted at the papers' scales.
DETECTOR_FLOPS = {
    "faster_rcnn": 196,
    "mask_rcnn": 251,
    "cascade_mask_rcnn": 376,
    "htc": 422,
    "retinanet": 203,
    "point_rend": 283,
    "mask2former": 249,
    "panoptic_fpn": 276,
    "semantic_fpn": 170,
    "semantic_point_rend": 170,
    "upernet": 903,
    "maskformer": 209,
    "semantic_mask2former": 252,
    # ResNet-20-b with b of 1.
    "shallow_semantic_fpn": 89,
    "classifier": 86,
    # Networks for CIFAR, whose depth is b, with b of 1.
    "small_classifier": 196,
    "small_resnext_classifier": 360,
}
FUSIONS_FOR_CIFAR = ("add", "aff", "iaff", "global", "local")
# What other backbones have more.
BACKBONE_FLOPS = {
    **{"resnet101": 74, "resnet101_caffe": 74, "resnext101_64x4d": 227, "swin_l": 712},
    **{"resnext50_32x4d": 25, "aff_resnet50": 5, "aff_resnext50_32x4d": 30, "iaff_resnet50": 9, "iaff_resnext50_32x4d": 35},
    **{"resnet20_b2": 14, "resnet20_b3": 28, "resnet20_b4": 41},
    **{f"small_resnet_{fusion}_b{b}": 227 * (b - 1) for fusion in FUSIONS_FOR_CIFAR for b in (2, 3, 4, 5)},
    **{f"small_resnext_aff_b{b}": 235 * (b - 1) for b in (4, 5)},
}
FLOPS_WIDTH = 256


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a run.

    Attributes
    ----------
    seconds_per_iteration : float
        Seconds per training iteration.
    iterations : int
        Iterations of the whole schedule.
    evaluation_seconds : float
        Seconds of all validations and the final test.
    source : str
        recorded, measured or assumed.
    """

    seconds_per_iteration: float
    iterations: int
    evaluation_seconds: float
    source: Source

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        return self.seconds_per_iteration * self.iterations + self.evaluation_seconds


class TrainingTimeEstimator:
    """Estimates for the runs of a grid.

    Parameters
    ----------
    grid : Grid
        The configuration's grid.
    records : RunReader
        Reads what earlier runs have left.
    rate : float, optional
        FLOP/s that a GPU, or a core where the scale trains on the CPU, is assumed to sustain.
    gpu_type : str, optional
        A key of `GPU_TYPES`, whose times alone are used; by default those of all machines, and the rate of `DEFAULT_GPU`.
    """

    def __init__(self, grid: Grid, records: RunReader, rate: float | None = None, gpu_type: str | None = None) -> None:
        self.grid, self.scale, self._records, self._gpu_type = grid, grid.scale, records, gpu_type
        if rate:
            self.rate, self.source_of_rate = rate, "as asked for by --teraflops"
        elif self.scale.resources.gpus:
            gpu = GPU_TYPES[gpu_type or DEFAULT_GPU]
            self.rate, self.source_of_rate = gpu.rate, gpu.source
        else:
            self.rate, self.source_of_rate = CPU_RATE * self.scale.resources.threads, CPU_SOURCE
        self.recorded = RecordedTimes(self.scale, records, gpu_type)
        self.train_images, self.val_images, self.source_of_images = self._images()

    def estimate(self, run_status: RunStatus) -> Estimate:
        """Estimate a run's time from the best source available.

        Parameters
        ----------
        run_status : RunStatus
            The run's status.
        """
        run = run_status.run
        iterations = self.iterations(run)
        evaluations = count_evaluations(run, self.train_images)
        own = run_status.progress.seconds_per_iteration if run_status.progress else None
        recorded = self.recorded.of(run)
        if own is not None or recorded:
            per_image = own / run.batch_size if own is not None else statistics.median(recorded.per_image if recorded else [])
            seconds_per_evaluation = (
                statistics.median(recorded.per_evaluation) if recorded and recorded.per_evaluation else None
            )
            source: Source = "recorded"
        elif self.probed and probe_key(run) in self.probed:
            per_image, seconds_per_evaluation, source = self.probed[probe_key(run)].seconds_per_image, None, "measured"
        else:
            per_image, seconds_per_evaluation, source = self._assumed_seconds_per_image(run), None, "assumed"
        if seconds_per_evaluation is None:
            seconds_per_evaluation = SHARE_OF_EVALUATION * per_image * self.val_images / max(1, self.scale.resources.gpus)
        return Estimate(per_image * run.batch_size, iterations, seconds_per_evaluation * evaluations, source)

    def iterations(self, run: Run) -> int:
        """Optimiser steps of a run: those of its schedule, or epochs times the batches of an epoch.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        return self.scale.schedules[run.setting.schedule].length(math.ceil(self.train_images / run.effective_batch))

    def _images(self) -> tuple[int, int, str]:
        """Numbers of training and validation images, and their source."""
        dataset, path = self.scale.dataset, self.scale.dataset_file
        if dataset.image_counts:
            return *dataset.image_counts, "the scale's"
        identity = self._records.read(read_identity, path)
        if identity:
            train, val = identity.train.images, identity.val.images
            if train == COCO_IMAGES:
                return COCO_IMAGES_WITH_OBJECTS, val, f"{path}, without the images of train2017 that have no objects"
            return train, val, f"{path}, images without objects among them"
        root = Path(self.grid.configuration.data_root or ".")
        if dataset.objects:
            files = dataset.objects.train_annotations, dataset.objects.val_annotations
            small = [_images_with_objects(root / name) for name in files]
            if small[0] is not None and small[1] is not None:
                return small[0], small[1], f"the annotations in {root}, those with objects"
        if maps := dataset.label_maps:
            counts = [len(maps.map_files(root / folder)) for folder in (maps.train_maps, maps.val_maps)]
            if all(counts):
                return counts[0], counts[1], f"the label maps in {root}"
        expected = self.scale.expected_splits
        if expected.keys() == {"train", "val"} and expected["train"].images != COCO_IMAGES:
            return expected["train"].images, expected["val"].images, "those that the scale expects"
        return COCO_IMAGES_WITH_OBJECTS, COCO_VAL_IMAGES, "COCO 2017's, train2017 without those that have no objects"

    @property
    def probe_file(self) -> Path:
        """The file of the probe's measurements."""
        return COMPLEXITY / self.scale.name / "probe.json"

    @cached_property
    def probed(self) -> dict[str, Measurement]:
        """The probe's measurements by `probe_key`."""
        found = self._records.read(lambda path: read_costs(path, Measurements), self.probe_file)
        measured = found.root if found else {}
        return {key: each for key, each in measured.items() if self._gpu_type is None or self._gpu_type in each.machine}

    @cached_property
    def counted_flops(self) -> dict[str, float]:
        """Multiply-adds of a forward pass by run id, where the reports on cost or the figures have counted them."""
        flops: dict[str, float] = {}
        for report in self.grid.reports_with_figures:
            path = COMPLEXITY / self.scale.name / f"{report}.json"
            counts = self._records.read(lambda path: read_costs(path, Counts), path)
            known = counts.counts if counts else {}
            found = {run.id: known.get(run.setting.key, {}).get("all_flops") for run in self.grid.runs_of(report)}
            flops |= {run: count for run, count in found.items() if count}
        return flops

    def flops(self, run: Run) -> float:
        """Multiply-adds of a forward pass on one image: counted, or else assumed.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        return self.counted_flops.get(run.id) or assumed_multiply_adds(run)

    def _assumed_seconds_per_image(self, run: Run) -> float:
        overhead = 0.0 if self.scale.resources.gpus else CPU_SECONDS_PER_IMAGE
        return overhead + FLOPS_PER_MULTIPLY_ADD * self.flops(run) / self.rate


def _images_with_objects(path: Path) -> int | None:
    """Number of images with objects in a small annotation file; None if the file is large, missing or unreadable."""
    try:
        if path.stat().st_size > SMALL_ANNOTATIONS:
            return None
        return len({entry["image_id"] for entry in json.loads(path.read_bytes())["annotations"] if not entry.get("iscrowd")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def probe_key(run: Run) -> str:
    """Name of a run's model and batch in the probe's file, 12 hexadecimal digits.

    Parameters
    ----------
    run : Run
        A run of the grid.
    """
    return hashlib.sha256(f"{model_key(run.spec)} {run.batch_size}".encode()).hexdigest()[:12]


def assumed_multiply_adds(run: Run) -> float:
    """Multiply-adds of a forward pass on one image with FPN or the model's own pyramid, scaled to the image and the width.

    Parameters
    ----------
    run : Run
        The run.
    """
    setting, scale = run.setting, run.scale
    detector = DETECTOR_FLOPS.get(setting.detector, DETECTOR_FLOPS["mask_rcnn"])
    per_pixel = 1e3 * (detector + BACKBONE_FLOPS.get(setting.backbone, 0))
    width = scale.out_channels / FLOPS_WIDTH
    if run.task == "classification":
        width = min(1.0, width)  # these are a network's last features then, and no pyramid's
    return per_pixel * math.prod(scale.complexity_image) * width**2


def assumed_training_hours(run: Run, flops: float) -> float:
    """Hours of GPUs, all together, that a training on COCO 2017 takes at the rate that is assumed where nothing was measured.

    Parameters
    ----------
    run : Run
        A run of a scale that trains on GPUs.
    flops : float
        Multiply-adds of a forward pass on one image.
    """
    steps = run.scale.schedules[run.setting.schedule].length(math.ceil(COCO_IMAGES_WITH_OBJECTS / run.effective_batch))
    images = (
        steps * run.effective_batch + SHARE_OF_EVALUATION * count_evaluations(run, COCO_IMAGES_WITH_OBJECTS) * COCO_VAL_IMAGES
    )
    return images * FLOPS_PER_MULTIPLY_ADD * flops / GPU_TYPES[DEFAULT_GPU].rate / 3600


def count_evaluations(run: Run, train_images: int) -> int:
    """Validations during a run's training, and the test after it.

    Parameters
    ----------
    run : Run
        A run of the grid.
    train_images : int
        Number of training images.
    """
    passes = run.scale.schedules[run.setting.schedule].passes(math.ceil(train_images / run.effective_batch))
    return evaluations_of_schedule(run.scale, passes)
