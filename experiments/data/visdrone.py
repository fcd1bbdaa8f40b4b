"""Datasets in VisDrone's format: converted, linked, checked and identified."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.data.converted import write_and_identify
from experiments.data.converters.coco_content import AnnotatedImage
from experiments.data.converters.visdrone import read_visdrone
from experiments.data.folders import check_root
from experiments.data.masks import Masks
from experiments.spec.converted_datasets import VisDroneDataset
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import ExpectedSplit


def prepare(
    dataset: VisDroneDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Write annotations in COCO's format into a folder, and link the images; see `experiments.data.prepare.prepare_dataset`."""
    root = check_root(data_root)
    splits = {
        "train": _read(root, dataset.train, drop_ignored=True),
        "val": _read(root, dataset.val, drop_ignored=False),
    }
    return write_and_identify(dataset, splits, folder, root, expected, masks)


def _read(root: Path, folder: str, drop_ignored: bool) -> list[AnnotatedImage]:
    """The images of a split, named relative to the data root."""
    split = read_visdrone(root / folder, drop_ignored)
    if split.without_area:
        print(f"{root / folder}: {split.without_area:,} objects without width or height are left out", file=sys.stderr)
    return [replace(image, file_name=f"{folder}/images/{image.file_name}") for image in split.images]
