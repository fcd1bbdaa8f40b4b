"""How many training images one worker prepares in a second, transform by transform, for each pipeline of a configuration."""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO

import cv2
import pandas as pd
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from tqdm import tqdm

from experiments.configs.build import load_config
from experiments.configs.write import framework
from experiments.errors import UserError, build_errors_as_user_errors, report_user_errors
from experiments.spec.configuration import read_configuration
from experiments.spec.run import Run
from experiments.workflow.grid import Grid


@dataclass(frozen=True)
class Pipeline:
    """The preparation of a training's images.

    Attributes
    ----------
    name : str
        Task, detector and schedule of the first run that has it.
    images_per_step : int
        Images of one process in one step of that run.
    milliseconds : dict
        Processor time of an image in each transform, by its name.
    """

    name: str
    images_per_step: int
    milliseconds: dict[str, float]

    @property
    def images_per_second(self) -> float:
        """What one worker prepares on an idle core."""
        return 1000 / sum(self.milliseconds.values())


def measure(runs: Iterable[Run], images: int) -> Iterator[Pipeline]:
    """Prepare images by every pipeline that differs from those before it, on one thread, as a worker does.

    Parameters
    ----------
    runs : iterable of Run
        Whose pipelines.
    images : int
        How many images each prepares; the first ones of the dataset, from its start again when all have been.

    Raises
    ------
    UserError
        If the dataset has not been prepared, or a transform cannot be built.
    """
    seen = set()
    by_setting = {run.setting.key: run for run in runs}
    for run in by_setting.values():
        config = load_config(run)
        described = json.dumps(config.train_dataloader.dataset, sort_keys=True)
        if described in seen:
            continue
        seen.add(described)
        setting = run.setting
        name = f"{run.task}, {setting.detector}, {setting.schedule}"
        dataset = _build(run, config.train_dataloader.dataset)
        yield Pipeline(name, run.batch_size, _milliseconds(dataset, images, name))


def _build(run: Run, described: dict) -> BaseDataset:
    place = f"the training images of scale {run.scale.name}"
    library = framework(run)
    with (
        build_errors_as_user_errors(place),
        redirect_stdout(StringIO()),
        DefaultScope.overwrite_default_scope(library),
    ):
        try:
            dataset = import_module(f"{library}.registry").DATASETS.build(described)
        except FileNotFoundError as error:
            raise UserError(
                f"{place}: {error.filename} is missing; `snakemake datasets/{run.scale.name}.json` prepares them"
            ) from None
    while not isinstance(dataset, BaseDataset):
        # What repeats or joins datasets; those that are joined have one pipeline.
        dataset = dataset.dataset if hasattr(dataset, "dataset") else dataset.datasets[0]
    return dataset


def _milliseconds(dataset: BaseDataset, images: int, name: str) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for number in tqdm(range(images), desc=name, unit="image", mininterval=1):
        prepared = dataset.get_data_info(number % len(dataset))
        for transform in dataset.pipeline.transforms:
            started = time.process_time()
            prepared = transform(prepared)
            seconds[type(transform).__name__] += time.process_time() - started
    return {transform: 1000 * spent / images for transform, spent in seconds.items()}


def about(pipeline: Pipeline, workers: int) -> str:
    """A table of a pipeline's transforms, and how short steps may be so that its workers keep up.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    workers : int
        Of each process of a training; 0 prepares images between the steps.
    """
    spent = pd.Series(pipeline.milliseconds, name="ms per image").rename_axis("transform").reset_index()
    step = 1000 * pipeline.images_per_step / pipeline.images_per_second
    feeds = (
        f"{workers} {'worker keeps' if workers == 1 else 'workers keep'} up with steps of {step / workers:.0f} ms or longer"
        if workers
        else f"without workers that is {step:.0f} ms of every step"
    )
    return (
        f"\n{pipeline.name}: {pipeline.images_per_second:.0f} images per second on one core;"
        f" of {pipeline.images_per_step} images {feeds}.\n\n{spent.to_markdown(index=False, floatfmt='.2f')}"
    )


def main() -> None:
    """Measure how fast one worker prepares the training images of a configuration, and print it transform by transform."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as after snakemake --config")
    parser.add_argument("--images", type=int, default=200, help="images that each pipeline prepares")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"argument --images: expected a number of at least 1, got {arguments.images}")
    grid = Grid(read_configuration(arguments.config))
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for pipeline in measure(grid.runs.values(), arguments.images):
        print(about(pipeline, grid.scale.resources.workers))


if __name__ == "__main__":
    report_user_errors(main)
