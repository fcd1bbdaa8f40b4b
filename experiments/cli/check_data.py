"""Check the dataset of the configuration, its annotations and its images, before anything is trained on it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.data.findings import DatasetError
from experiments.data.folders import check_root
from experiments.errors import UserError
from experiments.workflow.grid import Grid


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``check-data``."""
    parser.add_argument(
        "--all", action="store_true", help="up to 20 faults of each kind and their numbers, not the first alone"
    )


def main(grid: Grid, arguments: Namespace) -> None:
    """Check the dataset of the configuration, its annotations and its images.

    Parameters
    ----------
    grid : Grid
        The configuration.
    arguments : Namespace
        From `add_arguments`.

    Raises
    ------
    UserError
        If something is wrong.
    """
    # OpenCV and pandas take half a second, which the other verbs need not wait.
    from experiments.data.prepare import check_dataset

    scale = grid.scale
    folder = Path(scale.data_folder)
    if not scale.dataset.is_drawn:
        folder = check_root(Path(grid.configuration.data_root or ""))
    elif not folder.is_dir():
        raise UserError(f"{folder} does not exist; `snakemake {scale.dataset_file}` draws the dataset of scale {scale.name}")
    try:
        masks = grid.masks_of(grid.runs.values())
        checked = check_dataset(scale.dataset, folder, scale.expected_splits, masks)
    except DatasetError as error:
        if arguments.all:
            print(*error.lines, sep="\n")
        raise
    for name, split in (("train", checked.identity.train), ("val", checked.identity.val)):
        print(f"{name}: {split.images:,} images with {split.annotations:,} annotations are right")
    for notice in checked.notices:
        print(notice)
