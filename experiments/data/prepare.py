"""Settings -> dataset: drawn, or linked and checked, and identified by the hash of its annotations."""

import argparse
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from experiments.data.findings import DatasetError
from experiments.data.masks import Masks
from experiments.data.stuff_maps import check_stuff_maps
from experiments.errors import report_user_errors
from experiments.files import write_atomically
from experiments.spec.dataset_identity import CheckedDataset, write_checked_dataset
from experiments.spec.datasets import Dataset, ExpectedSplit


def prepare_dataset(
    dataset: Dataset,
    folder: Path,
    data_root: Path | None,
    expected: Mapping[str, ExpectedSplit] = MappingProxyType({}),
    masks: Masks = None,
) -> CheckedDataset:
    """Draw a dataset into a folder, or link the folder to it; then check and identify it.

    Parameters
    ----------
    dataset : Dataset
        The dataset; the module of this package that is named by its kind prepares it.
    folder : Path
        Folder in which runs look for the dataset; its content is replaced.
    data_root : Path or None
        Folder of a dataset that is not drawn.
    expected : dict
        Expected content of the splits ``train`` and ``val``, if it is known.
    masks : {'any', 'polygons'} or None
        Whether every object needs a mask.

    Raises
    ------
    UserError
        If a file is missing or damaged, or a split is not what was expected.
    DatasetError
        If annotations or images are wrong.
    """
    module = import_module(f"experiments.data.{dataset.kind}")
    checked: CheckedDataset = module.prepare(dataset, folder, data_root, expected, masks)
    return checked


def check_dataset(dataset: Dataset, folder: Path, expected: Mapping[Any, ExpectedSplit], masks: Masks = None) -> CheckedDataset:
    """Check and identify a dataset where it lies; arguments and errors as for `prepare_dataset`.

    A dataset in another format is converted aside, so that nothing that runs read is touched.
    """
    if dataset.is_converted:
        with TemporaryDirectory() as aside:
            return prepare_dataset(dataset, Path(aside), folder, expected, masks)
    checked: CheckedDataset = import_module(f"experiments.data.{dataset.kind}").identify(dataset, folder, expected, masks)
    return checked


def main() -> None:
    """Prepare a dataset and write its identity, or check its stuff maps alone."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dataset", required=True, help="the scale's dataset, JSON")
    parser.add_argument("--data-root", type=Path)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--folder", type=Path, help="where runs look for the dataset")
    task.add_argument("--stuff-maps", action="store_true", help="check the maps of stuff and things under the data root")
    parser.add_argument("--expected", default="{}", help="the scale's expected_splits, JSON")
    parser.add_argument("--masks", choices=["any", "polygons"], help="what masks every object needs")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    dataset = TypeAdapter(Dataset).validate_json(arguments.dataset)
    if arguments.stuff_maps:
        write_atomically(arguments.output, check_stuff_maps(dataset, arguments.data_root))
        return
    expected = TypeAdapter(dict[str, ExpectedSplit]).validate_json(arguments.expected)
    try:
        checked = prepare_dataset(dataset, arguments.folder, arguments.data_root, expected, arguments.masks)
    except DatasetError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        raise
    for notice in checked.notices:
        print(notice, file=sys.stderr)
    write_checked_dataset(arguments.output, checked)


if __name__ == "__main__":
    report_user_errors(main)
