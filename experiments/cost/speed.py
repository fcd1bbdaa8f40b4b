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
from experiments.cost.complexity import dense_head, roi_heads, runs_of_settings
from experiments.errors import report_user_errors
from experiments.machine import processor
from experiments.records.cost_files import Speeds, write_costs
from experiments.spec.run import Run

REPETITIONS = 4


def frames_per_second(runs: list[Run], repetitions: int = REPETITIONS) -> list[float]:
    """Speed of each run's detector: batch 1, the same image and regions, alternating measurements, median.

    Parameters
    ----------
    runs : list of Run
        All of one scale; the image has its `complexity_image` size.
    repetitions : int
        Measurements of each, after one on a small image that warms up.
    """
    height, width = runs[0].scale.complexity_image
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    models = [build_model(run).eval() for run in runs]
    regions = _random_regions(max(map(_most_regions, models)), height, width, generator)
    for model in models:
        _seconds(model, image[:, :, : _warm_up_length(height), : _warm_up_length(width)], regions)
    seconds: list[list[float]] = [[] for _ in models]
    for _ in tqdm(range(repetitions), desc="measuring frames per second", unit="round"):
        for model, times in zip(models, seconds, strict=True):
            times.append(_seconds(model, image, regions))
    return [1 / statistics.median(times) for times in seconds]


def _warm_up_length(length: int) -> int:
    """About a quarter, to warm up memory and thread pools at a fraction of the price; a multiple of 64 suits every neck."""
    return min(length, 64 * math.ceil(length / 4 / 64))


@torch.no_grad()
def _seconds(model: nn.Module, image: Tensor, regions: Tensor) -> float:
    """The whole detector once, with proposals and region pooling.

    Random weights would detect nothing and skip the heads' work; so the heads get as many regions as the test settings allow.
    """
    metas = [{"img_shape": tuple(image.shape[2:]), "scale_factor": (1.0, 1.0)}]
    started = time.perf_counter()
    levels = model.extract_feat(image)
    head = dense_head(model)
    head.predict_by_feat(*head(levels), batch_img_metas=metas)
    for extractor, head, number in roi_heads(model):
        head(extractor(levels[: extractor.num_inputs], regions[:number]))
    return time.perf_counter() - started


def _most_regions(model: nn.Module) -> int:
    return max((number for _, _, number in roi_heads(model)), default=0)


def _random_regions(number: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Image index and corners of boxes, (number, 5), log-uniform in size from 1/40 to 1/2 of the image."""
    share = torch.exp(torch.empty(number, 1).uniform_(-3.7, -0.7, generator=generator))
    centre = torch.rand(number, 2, generator=generator) * (1 - share) + share / 2
    corners = torch.cat([centre - share / 2, centre + share / 2], dim=1) * torch.tensor([width, height, width, height])
    return torch.cat([torch.zeros(number, 1), corners], dim=1)


def measure(runs: list[Run], threads: int) -> Speeds:
    """Frames per second of each run's setting, and what they were measured on.

    Parameters
    ----------
    runs : list of Run
        All of one scale.
    threads : int
        CPU threads.
    """
    torch.set_num_threads(threads)
    once = {run.setting.key: run for run in runs}
    return Speeds(
        frames_per_second=dict(zip(once, frames_per_second(list(once.values())), strict=True)),
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
