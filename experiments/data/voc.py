"""Datasets in PASCAL VOC's format: converted, linked, checked and identified."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.data.converted import write_and_identify
from experiments.data.converters.coco_content import AnnotatedImage
from experiments.data.converters.voc import read_voc
from experiments.data.folders import check_root
from experiments.data.masks import Masks
from experiments.spec.converted_datasets import VocDataset
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import ExpectedSplit


def prepare(
    dataset: VocDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Write annotations in COCO's format into a folder, and link the images; see `experiments.data.prepare.prepare_dataset`."""
    root = check_root(data_root)
    splits = {
        "train": _read(root, dataset.train, dataset.classes, learn_difficult=True),
        "val": _read(root, dataset.val, dataset.classes, learn_difficult=False),
    }
    return write_and_identify(dataset, splits, folder, root, expected, masks)


def _read(root: Path, lists: Mapping[str, str], classes: list[str], learn_difficult: bool) -> list[AnnotatedImage]:
    """The images of several lists, named relative to the data root."""
    return [
        replace(image, file_name=(Path(folder).parent / image.file_name).as_posix())
        for folder, name in lists.items()
        for image in read_voc([root / folder], name, classes, learn_difficult)
    ]
