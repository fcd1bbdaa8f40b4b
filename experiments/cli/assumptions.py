"""The assumptions behind the estimates of ``plan``, in sentences."""

from collections.abc import Iterable

from experiments.cost.training_time import (
    CPU_SECONDS_PER_IMAGE,
    SOURCES,
    Estimate,
    Source,
    TrainingTimeEstimator,
    probe_key,
)
from experiments.spec.run import Run
from experiments.spec.scale import Scale


def assumptions(times: TrainingTimeEstimator, estimates: Iterable[tuple[Run, Estimate]]) -> list[str]:
    """The assumptions behind estimates, one sentence per source that was used.

    Parameters
    ----------
    times : TrainingTimeEstimator
        The estimator.
    estimates : iterable of (Run, Estimate)
        Estimates from `estimate`.
    """
    runs: dict[Source, list[Run]] = {source: [] for source in SOURCES}
    for run, estimate in estimates:
        runs[estimate.source].append(run)
    batch = "(images per GPU × GPUs)" if times.scale.resources.gpus else "batch"
    sentences = [
        f"Iterations: the schedule's, or epochs × ⌈training images / {batch}⌉ with {times.train_images:,} training images"
        f" ({times.source_of_images})."
    ]
    if runs["recorded"]:
        machines = "; ".join(sorted(times.recorded.hardware)) or "running now"
        sentences.append(
            f"Recorded ({len(runs['recorded'])} runs): by the run itself, else by its setting with another seed, else by"
            f" its model with another schedule, per image; on {machines}."
        )
    if runs["measured"]:
        machines = "; ".join(sorted({times.probed[probe_key(run)].machine for run in runs["measured"]}))
        sentences.append(
            f"Measured ({len(runs['measured'])} runs): steps of the model on random images, {times.probe_file}, on"
            f" {machines}; images are not read from disk there."
        )
    if runs["assumed"]:
        sentences += _explain_assumed(times, runs["assumed"])
    if any(runs.values()):
        sentences.append(
            "Evaluation: as recorded; where it was not, a third of the time that training takes per image,"
            f" {times.val_images:,} images, {_evaluation_text(times.scale)}."
        )
    return sentences


def _explain_assumed(times: TrainingTimeEstimator, runs: list[Run]) -> list[str]:
    on_gpus = bool(times.scale.resources.gpus)
    rate = f"{times.rate / 1e12:.3g} TFLOP/s per {'GPU' if on_gpus else 'run'}"
    beside = "" if on_gpus else f"{CPU_SECONDS_PER_IMAGE} s per image and "
    height, width = times.scale.complexity_image
    sentence = (
        f"Assumed ({len(runs)} runs): {beside}3 × 2 × the multiply-adds of a forward pass on {height} × {width} at {rate},"
        f" {times.source_of_rate}."
    )
    counted = sum(run.id in times.counted_flops for run in runs)
    if counted == len(runs):
        return [sentence, f"Multiply-adds: counted, complexity/{times.scale.name}/."]
    missing = {run.id for run in runs} - times.counted_flops.keys()
    report = next(
        name for name in times.grid.reports_with_figures if any(run.id in missing for run in times.grid.runs_of(name))
    )
    return [
        sentence,
        f"Multiply-adds: counted for {counted} of these runs; for {len(missing)} those of the detector and the"
        " backbone with FPN are taken whatever the neck, 267 G for Mask R-CNN R-50 on 832 × 1280 at width 256"
        f" (`snakemake complexity/{times.scale.name}/{report}.json` counts those of {report}).",
    ]


def _evaluation_text(scale: Scale) -> str:
    interval = scale.validation_interval
    return (
        "after training"
        if interval is None
        else f"each {interval} epochs and after training".replace("each 1 epochs", "each epoch")
    )
