"""How long earlier runs took, from their metrics, and durations in words."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from experiments.paths import RUNS
from experiments.records.metrics_file import RunMetrics, read_metrics
from experiments.records.run_status import RunReader, number
from experiments.spec.run import Run
from experiments.spec.scale import Scale

# Of a run's spec, what decides its time per image; the second line only where it is not the usual.
MODEL = ("neck", "detector", "backbone", "dataset", "image_scale", "out_channels", "num_outs")
COMPUTED = ("precision", "channels_last", "gradient_checkpointing", "tf32", "cudnn_benchmark", "deterministic")


@dataclass
class RecordedTime:
    """Times of earlier runs of one kind: seconds of a whole run, per image and process, and per evaluation."""

    whole: list[float] = field(default_factory=list)
    per_image: list[float] = field(default_factory=list)
    per_evaluation: list[float] = field(default_factory=list)


class RecordedTimes:
    """Times of the runs that have left metrics.

    Parameters
    ----------
    scale : Scale
        The scale whose validations are assumed.
    reader : RunReader
        Reads the metrics, and keeps what is damaged.
    gpu_type : str, optional
        Part of the names of GPUs whose times alone are taken.
    """

    def __init__(self, scale: Scale, reader: RunReader, gpu_type: str | None = None) -> None:
        self._scale, self._reader, self._gpu_type = scale, reader, gpu_type
        self._hardware: set[str] = set()

    @property
    def hardware(self) -> set[str]:
        """GPUs, or CPU, of the machines that the times come from."""
        return self._hardware if self._found else set()

    def of(self, run: Run) -> RecordedTime | None:
        """Times of the run itself, of its setting with another seed, or of its model with another schedule.

        Parameters
        ----------
        run : Run
            A run of the scale.
        """
        if not self._found or run.id in self._found:
            return self._found.get(run.id)
        model = model_key(run.spec)
        return self._found.get(_schedule_key(run.spec)) or self._found.get(model)

    def seconds_of(self, run: Run) -> float | None:
        """Seconds that the run itself took, or its setting with another seed, in the middle; None if nothing is known.

        Parameters
        ----------
        run : Run
            A run of the scale.
        """
        for key in (run.id, _schedule_key(run.spec)):
            if key in self._found and self._found[key].whole:
                return median(self._found[key].whole)
        return None

    @cached_property
    def _found(self) -> dict[Any, RecordedTime]:
        found: dict[Any, RecordedTime] = defaultdict(RecordedTime)
        for path in sorted(RUNS.glob("*/metrics.json")):
            metrics = self._reader.read(read_metrics, path)
            try:
                if metrics and metrics.run:
                    self._take(metrics, found)
            except (KeyError, TypeError, IndexError, ZeroDivisionError):
                # Written by an older version with other fields: skip.
                continue
        return dict(found)

    def _take(self, metrics: RunMetrics, found: dict[Any, RecordedTime]) -> None:
        spec, provenance, iterations = metrics.spec, metrics.provenance, metrics.history[-1]["iteration"]
        gpus = provenance.hardware.get("gpus") or []
        if self._gpu_type and not all(self._gpu_type in gpu for gpu in gpus or [""]):
            return
        seconds = None if provenance.resumed_from else number(provenance.seconds)
        per_iteration = number(provenance.seconds_per_iteration)
        of_evaluations = None if seconds is None or per_iteration is None else max(0.0, seconds - per_iteration * iterations)
        if per_iteration is None:
            # Older records do not separate evaluation from iterations.
            if seconds is None:
                return
            per_iteration, of_evaluations = seconds / iterations, 0.0
        epochs = spec["schedule"]["epochs"]
        evaluations = 1 + len(metrics.validations) if epochs is None else evaluations_of_schedule(self._scale, epochs)
        for key in (metrics.run, _schedule_key(spec), model_key(spec)):
            if seconds is not None:
                found[key].whole.append(seconds)
            found[key].per_image.append(per_iteration / spec["batch_size"])
            if of_evaluations is not None:
                found[key].per_evaluation.append(of_evaluations / evaluations)
        self._hardware.add(", ".join(sorted(set(gpus))) or "CPU")


def _schedule_key(spec: dict[str, Any]) -> tuple[str, str, int]:
    """The parts of a run's spec that decide its whole time."""
    return model_key(spec), spec["schedule"]["name"], spec["batch_size"]


def model_key(spec: dict[str, Any]) -> str:
    """The parts of a run's spec that decide its time per image; the seed and the schedule do not.

    Parameters
    ----------
    spec : dict
        A run's spec.
    """
    return json.dumps({part: spec[part] for part in (*MODEL, *COMPUTED) if part in spec}, sort_keys=True)


def evaluations_of_schedule(scale: Scale, epochs: int) -> int:
    return 1 + (epochs // scale.validation_interval if scale.validation_interval else 0)


def duration(seconds: float) -> str:
    """A duration in words, in two units at most.

    Parameters
    ----------
    seconds : float
        Not negative.
    """
    minutes, rest = divmod(round(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"
