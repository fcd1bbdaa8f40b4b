"""Images with one label each, in a folder for each class: linked, checked, and identified by their names and sizes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.data.findings import Findings, raise_if_wrong
from experiments.data.folders import UNPACK_AGAIN, link_folder
from experiments.data.images import in_threads
from experiments.data.masks import Masks
from experiments.errors import UserError
from experiments.spec.dataset_files import IMAGE_ENDINGS, LabelledImages
from experiments.spec.dataset_identity import CheckedDataset, DatasetIdentity, SplitCheck, SplitIdentity
from experiments.spec.datasets import Dataset, ExpectedSplit
from experiments.spec.image_datasets import ImageFoldersDataset


def prepare(
    dataset: ImageFoldersDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Link a folder to a dataset; check and identify it. See `experiments.data.prepare.prepare_dataset`."""
    link_folder(folder, data_root)
    return identify(dataset, folder, expected, masks)


def identify(dataset: Dataset, folder: Path, expected: Mapping[Any, ExpectedSplit], masks: Masks) -> CheckedDataset:
    """Check both splits: as many classes as the scale says, the same in both, images that can be opened.

    The identity is the hash of the images' names and sizes: hashing 150 GB would take longer than many a training.

    Parameters
    ----------
    dataset : Dataset
        The dataset, with images that have one label each.
    folder : Path
        Its folder.
    expected : dict
        Expected content of the splits ``train`` and ``val``, if it is known.
    masks : None
        There are no objects.

    Raises
    ------
    UserError
        If a folder is missing, or a split is not what was expected.
    DatasetError
        If images cannot be opened.
    """
    images, names = dataset.labelled_images, dataset.classes
    assert images is not None, "of this format"
    assert isinstance(names, list), "of this format"
    count = len(names)
    train, val = (_read_split(folder / split, count) for split in (images.train, images.val))
    for name in sorted(train.classes ^ val.classes):
        lacking, having = (images.val, images.train) if name in train.classes else (images.train, images.val)
        raise UserError(f"{folder / lacking}: has no folder {name}, and {having} has one; allowed: the same classes in both")
    for name, split, path in (("train", train, images.train), ("val", val, images.val)):
        if name in expected and split.identity.images != expected[name].images:
            raise UserError(
                f"{folder / path} ({(folder / path).resolve()}) holds {split.identity.images} images, not"
                f" {expected[name].images}: {UNPACK_AGAIN}"
            )
    found = [train.findings, val.findings]
    for split in (train, val):
        faults = list(in_threads(_fault, split.files, f"checking {split.folder.name}", "image"))
        wrong = [(file, fault) for file, fault in zip(split.files, faults, strict=True) if fault]
        split.findings.refuse(wrong, lambda pair: f"{pair[0].parent.name}/{pair[0].name}: {pair[1]}")
    raise_if_wrong(found)
    checks = {
        name: SplitCheck(without_mask=0, notices=split.findings.notices) for name, split in (("train", train), ("val", val))
    }
    return CheckedDataset(identity=DatasetIdentity(train=train.identity, val=val.identity), checks=checks)


@dataclass(frozen=True)
class _Split:
    folder: Path
    identity: SplitIdentity
    classes: set[str]
    files: list[Path]
    findings: Findings


def _read_split(folder: Path, count: int) -> _Split:
    if not folder.is_dir():
        raise UserError(f"{folder} ({folder.parent.resolve()}) does not exist: correct data_root or the scale's dataset")
    classes = LabelledImages.class_folders(folder)
    if not classes:
        raise UserError(
            f"{folder}: holds images without folders of their classes; for ImageNet's val/ the script valprep.sh, which comes"
            " with many of its training recipes, sorts them"
        )
    if len(classes) != count:
        raise UserError(f"{folder}: holds {len(classes)} folders; allowed: {count}, the classes of the scale's dataset")
    findings, files, others = Findings(folder), [], 0
    for path in classes:
        of_class = LabelledImages.images_of_class(path)
        others += sum(1 for _ in path.iterdir()) - len(of_class)
        files += of_class
        if not of_class:
            findings.refuse([path.name], lambda name: f"folder {name} holds no image; allowed: {', '.join(IMAGE_ENDINGS)}")
    findings.notice(others, "files are no images by their names and are left out")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.parent.name}/{file.name} {file.stat().st_size}\n".encode())
    identity = SplitIdentity(annotations_sha256=digest.hexdigest(), images=len(files), annotations=len(files))
    return _Split(folder, identity, {path.name for path in classes}, files, findings)


def _fault(file: Path) -> str | None:
    """Why an image cannot be opened; its pixels are not read."""
    try:
        with Image.open(file):
            return None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "is damaged, or no image; fetch it again"
