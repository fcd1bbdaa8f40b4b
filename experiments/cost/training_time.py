"""How long trainings take: recorded by earlier runs, measured by a probe, or assumed from the multiply-adds of the model."""

import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from experiments.errors import UserError
from experiments.paths import COMPLEXITY, RUNS
from experiments.records.cost_files import read_counts
from experiments.records.run_status import RunReader, RunStatus, number
from experiments.spec.run import Run
from experiments.spec.scale import Scale
from experiments.workflow.grid import Grid

Source = Literal["recorded", "measured", "assumed"]
SOURCES: tuple[Source, ...] = ("recorded", "measured", "assumed")
# mmdetection drops images without objects: of train2017's 118,287 images these remain.
COCO_IMAGES, COCO_IMAGES_WITH_OBJECTS, COCO_VAL_IMAGES = 118_287, 117_266, 5_000
# An annotation file of this size is read in a second; COCO's own is 20 times as large.
SMALL_ANNOTATIONS = 2**25
# Forward, and backward for features and weights, a multiplication and an addition each.
FLOPS_PER_MULTIPLY_ADD = 3 * 2
# Of what training takes; no gradients.
SHARE_OF_EVALUATION = 1 / 3
GPU_RATE = 7.0e12
GPU_SOURCE = (
    "what a V100 sustains in float32: maskrcnn-benchmark's MODEL_ZOO.md gives 0.4536 s per iteration for Mask R-CNN R-50-FPN"
    " and 2 images per GPU; mmdetection's of 2018 gives 0.690 s, 4.6 TFLOP/s"
)
CPU_RATE = 2.0e10
CPU_SECONDS_PER_IMAGE = 0.05
CPU_SOURCE = (
    "fitted to FPN on cores of an AMD EPYC: 0.62 s for a step of 8 images at scale demo, 25 minutes for a run at tiny_coco"
)
# Mask R-CNN R-50-FPN, width 256.
FALLBACK_FLOPS, FALLBACK_IMAGE, FALLBACK_WIDTH = 267e9, 832 * 1280, 256


@dataclass(frozen=True)
class Estimate:
    """What a run takes.

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
        """Of the whole run."""
        return self.seconds_per_iteration * self.iterations + self.evaluation_seconds


@dataclass
class _Recorded:
    """What earlier runs of one kind took: seconds per image of one process, and seconds of one evaluation."""

    per_image: list[float] = field(default_factory=list)
    per_evaluation: list[float] = field(default_factory=list)


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
    """

    def __init__(self, grid: Grid, records: RunReader, rate: float | None = None) -> None:
        self.grid, self.scale, self._records = grid, grid.scale, records
        self.rate = rate or (GPU_RATE if self.scale.resources.gpus else CPU_RATE * self.scale.resources.threads)
        self.train_images, self.val_images, self.source_of_images = self._images()

    def estimate(self, run_status: RunStatus) -> Estimate:
        """What a run takes, by the best source there is.

        Parameters
        ----------
        run_status : RunStatus
            The run's status.
        """
        run = run_status.run
        iterations = self.iterations(run)
        evaluations = count_evaluations(run)
        own = run_status.number("seconds_per_iteration")
        recorded = self._recorded_for(run)
        if own is not None or recorded:
            per_image = own / run.batch_size if own is not None else statistics.median(recorded.per_image if recorded else [])
            seconds_per_evaluation = (
                statistics.median(recorded.per_evaluation) if recorded and recorded.per_evaluation else None
            )
            source: Source = "recorded"
        elif self.probed and probe_key(run) in self.probed:
            per_image, seconds_per_evaluation, source = self.probed[probe_key(run)]["seconds_per_image"], None, "measured"
        else:
            per_image, seconds_per_evaluation, source = self._assumed_seconds_per_image(run), None, "assumed"
        if seconds_per_evaluation is None:
            seconds_per_evaluation = SHARE_OF_EVALUATION * per_image * self.val_images / max(1, self.scale.resources.gpus)
        return Estimate(per_image * run.batch_size, iterations, seconds_per_evaluation * evaluations, source)

    def iterations(self, run: Run) -> int:
        """Optimiser steps of a run: epochs times the batches of an epoch, the last one not whole.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        effective_batch = run.batch_size * max(1, self.scale.resources.gpus)
        return self.scale.schedules[run.setting.schedule].epochs * math.ceil(self.train_images / effective_batch)

    def _images(self) -> tuple[int, int, str]:
        """Numbers of training and validation images, and where they are from."""
        dataset, path = self.scale.dataset, self.scale.dataset_file
        if dataset.kind == "synthetic":
            return dataset.train_count, dataset.val_count, "the scale's"
        identity = self._records.read(Path(path))
        counts = [number((identity.get(split) or {}).get("images")) for split in ("train", "val")]
        if counts[0] is not None and counts[1] is not None:
            train, val = map(int, (counts[0], counts[1]))
            if train == COCO_IMAGES:
                return COCO_IMAGES_WITH_OBJECTS, val, f"{path}, without the images of train2017 that have no objects"
            return train, val, f"{path}, images without objects among them"
        root = Path(self.grid.configuration.data_root or ".")
        small = [_images_with_objects(root / name) for name in (dataset.train_annotations, dataset.val_annotations)]
        if small[0] is not None and small[1] is not None:
            return small[0], small[1], f"the annotations in {root}, those with objects"
        return COCO_IMAGES_WITH_OBJECTS, COCO_VAL_IMAGES, "COCO 2017's, train2017 without those that have no objects"

    def _recorded_for(self, run: Run) -> _Recorded | None:
        """Of the run itself, of its setting with another seed, or of its model with another schedule."""
        if not self._recorded or run.id in self._recorded:
            return self._recorded.get(run.id)
        model = model_key(run.spec)
        return self._recorded.get((model, run.setting.schedule, run.batch_size)) or self._recorded.get(model)

    @cached_property
    def _recorded(self) -> dict[Any, _Recorded]:
        found: dict[Any, _Recorded] = defaultdict(_Recorded)
        self.hardware: set[str] = set()
        for path in sorted(RUNS.glob("*/metrics.json")):
            content = self._records.read(path)
            try:
                self._take(content, found)
            except (KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError):
                # Of a version that recorded something else.
                continue
        return dict(found)

    def _take(self, content: dict[str, Any], found: dict[Any, _Recorded]) -> None:
        spec, made, iterations = content["spec"], content["made"], content["history"][-1]["iteration"]
        seconds = number(made.get("seconds")) if made.get("resumed_from") is None else None
        per_iteration = number(made.get("seconds_per_iteration"))
        of_evaluations = None if seconds is None or per_iteration is None else max(0.0, seconds - per_iteration * iterations)
        if per_iteration is None:
            # Evaluation was not recorded apart: it is in the time of the iterations.
            if seconds is None:
                return
            per_iteration, of_evaluations = seconds / iterations, 0.0
        model, schedule = model_key(spec), spec["schedule"]
        evaluations = _evaluations(self.scale, schedule["epochs"])
        for key in (content["run"], (model, schedule["name"], spec["batch_size"]), model):
            found[key].per_image.append(per_iteration / spec["batch_size"])
            if of_evaluations is not None:
                found[key].per_evaluation.append(of_evaluations / evaluations)
        hardware = made.get("hardware") or {}
        self.hardware.add(", ".join(sorted(set(hardware.get("gpus") or []))) or "CPU")

    @property
    def probe_file(self) -> Path:
        """Where the probe keeps what it has measured."""
        return COMPLEXITY / self.scale.name / "probe.json"

    @cached_property
    def probed(self) -> dict[str, dict[str, Any]]:
        """What the probe has measured, by `probe_key`."""
        entries = self._records.read(self.probe_file)
        return {
            key: entry
            for key, entry in entries.items()
            if isinstance(entry, dict) and number(entry.get("seconds_per_image")) is not None
        }

    @cached_property
    def counted_flops(self) -> dict[str, float]:
        """Multiply-adds of a forward pass by run id, where the reports on cost or the figures have counted them."""
        flops: dict[str, float] = {}
        for report in self.grid.reports_with_figures:
            path = COMPLEXITY / self.scale.name / f"{report}.json"
            counts = self._counts(path) if path.exists() else {}
            found = {run.id: counts.get(run.setting.key, {}).get("all_flops") for run in self.grid.runs_of(report)}
            flops |= {run: count for run, count in found.items() if count}
        return flops

    def _counts(self, path: Path) -> dict[str, dict[str, float]]:
        try:
            return read_counts(path).counts
        except (UserError, OSError) as error:
            self._records.problems.append(str(error))
            return {}

    def flops(self, run: Run) -> float:
        """Multiply-adds of a forward pass on one image: counted, or else those of FPN, scaled to the image and the width.

        Parameters
        ----------
        run : Run
            A run of the grid.
        """
        area = math.prod(self.scale.complexity_image) / FALLBACK_IMAGE
        width = self.scale.out_channels / FALLBACK_WIDTH
        return self.counted_flops.get(run.id) or FALLBACK_FLOPS * area * width**2

    def _assumed_seconds_per_image(self, run: Run) -> float:
        overhead = 0.0 if self.scale.resources.gpus else CPU_SECONDS_PER_IMAGE
        return overhead + FLOPS_PER_MULTIPLY_ADD * self.flops(run) / self.rate

    def assumptions(self, estimates: Iterable[tuple[Run, Estimate]]) -> list[str]:
        """What stands behind estimates, a sentence for each source that was used.

        Parameters
        ----------
        estimates : iterable of (Run, Estimate)
            Estimates from `estimate`.
        """
        runs: dict[Source, list[Run]] = {source: [] for source in SOURCES}
        for run, estimate in estimates:
            runs[estimate.source].append(run)
        batch = "(images per GPU × GPUs)" if self.scale.resources.gpus else "batch"
        sentences = [
            f"Iterations: epochs × ⌈training images / {batch}⌉ with {self.train_images:,} training images"
            f" ({self.source_of_images})."
        ]
        if runs["recorded"]:
            machines = "; ".join(sorted(self.hardware)) if self._recorded else "running now"
            sentences.append(
                f"Recorded ({len(runs['recorded'])} runs): by the run itself, else by its setting with another seed, else by"
                f" its model with another schedule, per image; on {machines}."
            )
        if runs["measured"]:
            machines = "; ".join(sorted({str(self.probed[probe_key(run)].get("machine")) for run in runs["measured"]}))
            sentences.append(
                f"Measured ({len(runs['measured'])} runs): steps of the model on random images, {self.probe_file}, on"
                f" {machines}; images are not read from disk there."
            )
        if runs["assumed"]:
            sentences += self._explain_assumed(runs["assumed"])
        if any(runs.values()):
            sentences.append(
                "Evaluation: as recorded; where it was not, a third of the time that training takes per image,"
                f" {self.val_images:,} images, {_evaluation_text(self.scale)}."
            )
        return sentences

    def _explain_assumed(self, runs: list[Run]) -> list[str]:
        on_gpus = bool(self.scale.resources.gpus)
        is_default = self.rate == GPU_RATE if on_gpus else self.rate == CPU_RATE * self.scale.resources.threads
        source = (GPU_SOURCE if on_gpus else CPU_SOURCE) if is_default else "as asked for by --teraflops"
        rate = f"{self.rate / 1e12:.3g} TFLOP/s per {'GPU' if on_gpus else 'run'}"
        beside = "" if on_gpus else f"{CPU_SECONDS_PER_IMAGE} s per image and "
        height, width = self.scale.complexity_image
        sentence = (
            f"Assumed ({len(runs)} runs): {beside}3 × 2 × the multiply-adds of a forward pass on {height} × {width} at {rate},"
            f" {source}."
        )
        counted = sum(run.id in self.counted_flops for run in runs)
        if counted == len(runs):
            return [sentence, f"Multiply-adds: counted, complexity/{self.scale.name}/."]
        missing = {run.id for run in runs} - self.counted_flops.keys()
        report = next(
            name for name in self.grid.reports_with_figures if any(run.id in missing for run in self.grid.runs_of(name))
        )
        return [
            sentence,
            f"Multiply-adds: counted for {counted} of these runs; for {len(missing)} those of Mask R-CNN R-50-FPN, 267 G on"
            " 832 × 1280 at width 256, are taken whatever the model"
            f" (`snakemake complexity/{self.scale.name}/{report}.json` counts those of {report}).",
        ]


def _evaluation_text(scale: Scale) -> str:
    interval = scale.validation_interval
    return (
        "after training"
        if interval is None
        else f"each {interval} epochs and after training".replace("each 1 epochs", "each epoch")
    )


def _images_with_objects(path: Path) -> int | None:
    """Images of a small annotation file that have objects; None where it is large, missing or something else."""
    try:
        if path.stat().st_size > SMALL_ANNOTATIONS:
            return None
        return len({entry["image_id"] for entry in json.loads(path.read_bytes())["annotations"] if not entry.get("iscrowd")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def model_key(spec: dict[str, Any]) -> str:
    """What of a run's spec decides the time per image: neither its seed nor its schedule.

    Parameters
    ----------
    spec : dict
        A run's spec.
    """
    parts = ("neck", "detector", "backbone", "dataset", "image_scale", "out_channels", "num_outs")
    return json.dumps({part: spec[part] for part in parts}, sort_keys=True)


def probe_key(run: Run) -> str:
    """Name of a run's model and batch in the probe's file, 12 hexadecimal digits.

    Parameters
    ----------
    run : Run
        A run of the grid.
    """
    return hashlib.sha256(f"{model_key(run.spec)} {run.batch_size}".encode()).hexdigest()[:12]


def count_evaluations(run: Run) -> int:
    """Validations during a run's training, and the test after it.

    Parameters
    ----------
    run : Run
        A run of the grid.
    """
    return _evaluations(run.scale, run.scale.schedules[run.setting.schedule].epochs)


def _evaluations(scale: Scale, epochs: int) -> int:
    return 1 + (epochs // scale.validation_interval if scale.validation_interval else 0)
