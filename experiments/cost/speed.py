"""Settings -> frames per second of each on this machine, measured side by side."""

import argparse
import math
import statistics
import time
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from torch import Tensor, nn
from tqdm import tqdm

from experiments.configs.build import build_model
from experiments.cost.complexity import runs_of_settings
from experiments.errors import report_user_errors
from experiments.machine import processor
from experiments.records.cost_files import Speeds, write_costs
from experiments.spec.run import Run
from experiments.tasks.task import Task, load_task

# Of one model they differ by 1 to 4 % on two cores: six models are told apart from 2 to 5 % on.
REPETITIONS = 8


def frames_per_second(runs: list[Run], repetitions: int = REPETITIONS) -> list[list[float]]:
    """Speed of each run's model in each round: batch 1, the same image, one model after the other.

    Parameters
    ----------
    runs : list of Run
        Runs of one scale; the image has the scale's `complexity_image` size.
    repetitions : int
        Number of rounds, after one on a small image that warms up.
    """
    height, width = runs[0].scale.complexity_image
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    models = [(build_model(run).eval(), load_task(run.task)) for run in runs]
    for model, task in models:
        _seconds(task, model, image[:, :, : _warm_up_length(height), : _warm_up_length(width)])
    rates: list[list[float]] = [[] for _ in models]
    for _ in tqdm(range(repetitions), desc="measuring frames per second", unit="round"):
        for (model, task), of_model in zip(models, rates, strict=True):
            of_model.append(1 / _seconds(task, model, image))
    return rates


def _warm_up_length(length: int) -> int:
    """About a quarter, so that warming up memory and thread pools is cheap; every neck accepts a multiple of 64."""
    return min(length, 64 * math.ceil(length / 4 / 64))


@torch.no_grad()
def _seconds(task: Task, model: nn.Module, image: Tensor) -> float:
    started = time.perf_counter()
    task.predict(model, image)
    return time.perf_counter() - started


def measure(runs: list[Run], threads: int) -> Speeds:
    """Frames per second of each run's setting, and what they were measured on.

    Parameters
    ----------
    runs : list of Run
        Runs of one scale.
    threads : int
        CPU threads.
    """
    torch.set_num_threads(threads)
    once = {run.setting.key: run for run in runs}
    rounds = dict(zip(once, frames_per_second(list(once.values())), strict=True))
    return Speeds(
        frames_per_second={key: statistics.median(rates) for key, rates in rounds.items()},
        rounds=rounds,
        machine=f"{processor()}, {threads} threads, torch {torch.__version__}",
        image=list(runs[0].scale.complexity_image),
        repetitions=REPETITIONS,
    )


def main() -> None:
    """Measure the speed of settings at a scale."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--settings", required=True, help="list of resolved settings, JSON")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    register_all_modules()
    write_costs(arguments.output, measure(runs_of_settings(arguments.settings, arguments.scale), arguments.threads))


if __name__ == "__main__":
    report_user_errors(main)
