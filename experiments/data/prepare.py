"""Settings -> dataset: drawn, or linked and checked, and identified by the hash of its annotations."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import TypeAdapter

from experiments.data.coco import check_root, classes_of, describe_split
from experiments.data.stuff_maps import check_stuff_maps
from experiments.data.synthetic import write_synthetic_dataset
from experiments.errors import UserError, report_user_errors
from experiments.files import write_atomically
from experiments.spec.dataset_identity import DatasetIdentity, write_identity
from experiments.spec.datasets import Dataset, ExpectedSplit


def prepare_dataset(
    dataset: Dataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit] = MappingProxyType({})
) -> DatasetIdentity:
    """Draw a dataset into a folder, or link the folder to it; then check and identify it.

    Parameters
    ----------
    dataset : SyntheticDataset or CocoDataset
        The dataset.
    folder : Path
        Folder in which runs look for the dataset; its content is replaced.
    data_root : Path or None
        Folder of a dataset that is not synthetic.
    expected : dict
        Expected content of the splits ``train`` and ``val``, if it is known.

    Raises
    ------
    UserError
        If a file is missing or damaged, the annotations do not fit the classes, or a split is not what was expected.
    """
    if dataset.kind == "synthetic":
        _remove(folder)
        write_synthetic_dataset(folder, dataset)
    else:
        _link(folder, data_root)
    splits = {
        "train": (dataset.train_annotations, dataset.train_images),
        "val": (dataset.val_annotations, dataset.val_images),
    }
    classes = dataset.classes
    if classes == "annotations":
        classes = classes_of(folder / dataset.train_annotations)
    found = {name: describe_split(folder, *paths, classes, expected.get(name)) for name, paths in splits.items()}
    return DatasetIdentity(**found, classes=classes if dataset.classes == "annotations" else None)


def _remove(folder: Path) -> None:
    """Remove the drawn folder or the link of an earlier call, never the target of a link."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _link(folder: Path, data_root: Path | None) -> None:
    target = check_root(data_root).resolve()
    if target == folder.resolve():
        return
    if folder.exists() and not folder.is_symlink():
        raise UserError(f"{folder} is a folder where a link to {target} is wanted; move it, or give it as data_root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove(folder)
    folder.symlink_to(target, target_is_directory=True)


def main() -> None:
    """Prepare a dataset and write its identity, or check its stuff maps alone."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dataset", required=True, help="the scale's dataset, JSON")
    parser.add_argument("--data-root", type=Path)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--folder", type=Path, help="where runs look for the dataset")
    task.add_argument("--stuff-maps", action="store_true", help="check the maps of stuff and things under the data root")
    parser.add_argument("--expected", default="{}", help="the scale's expected_splits, JSON")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    dataset = TypeAdapter(Dataset).validate_json(arguments.dataset)
    if arguments.stuff_maps and dataset.kind == "coco":
        write_atomically(arguments.output, check_stuff_maps(dataset, arguments.data_root))
        return
    expected = TypeAdapter(dict[str, ExpectedSplit]).validate_json(arguments.expected)
    write_identity(arguments.output, prepare_dataset(dataset, arguments.folder, arguments.data_root, expected))


if __name__ == "__main__":
    report_user_errors(main)
