"""Datasets in COCO's format: linked, checked, and identified by the hashes of their annotations."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from experiments.data.folders import link_folder
from experiments.errors import UserError
from experiments.spec.coco_classes import COCO_CLASSES
from experiments.spec.dataset_identity import DatasetIdentity, SplitIdentity
from experiments.spec.datasets import CocoDataset, Dataset, ExpectedSplit

TAIL_BYTES = 64
END_MARKS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}


def prepare(
    dataset: CocoDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit]
) -> DatasetIdentity:
    """Link a folder to a dataset; check and identify it. See `experiments.data.prepare.prepare_dataset`."""
    link_folder(folder, data_root)
    return identify(dataset, folder, expected)


def identify(dataset: Dataset, folder: Path, expected: Mapping[str, ExpectedSplit]) -> DatasetIdentity:
    """Check both splits and identify them by the hashes of their annotations.

    Parameters
    ----------
    dataset : Dataset
        The dataset, with annotations in COCO's format.
    folder : Path
        Its folder.
    expected : dict
        Expected content of the splits ``train`` and ``val``, if it is known.

    Raises
    ------
    UserError
        If a file is missing or damaged, the annotations do not fit the classes, or a split is not what was expected.
    """
    splits = {
        "train": (dataset.train_annotations, dataset.train_images),
        "val": (dataset.val_annotations, dataset.val_images),
    }
    classes = dataset.classes
    if classes == "annotations":
        classes = classes_of(folder / dataset.train_annotations)
    found = {name: describe_split(folder, *paths, classes, expected.get(name)) for name, paths in splits.items()}
    return DatasetIdentity(**found, classes=classes if dataset.classes == "annotations" else None)


def describe_split(
    folder: Path, annotations: str, images: str, classes: Sequence[str] | None, expected: ExpectedSplit | None
) -> SplitIdentity:
    """Check a split and identify it.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    annotations, images : str
        Annotation file and folder of the images, relative to it.
    classes : sequence of str or None
        Names of the classes; None: COCO's 80.
    expected : ExpectedSplit or None
        Expected content of the split, if it is known.

    Raises
    ------
    UserError
        If a file is missing or damaged, the annotations do not fit the classes, or the split is not what was expected.
    """
    path = folder / annotations
    with explain_annotations(path):
        text = path.read_bytes()
        content = json.loads(text)
        _check_annotations(path, content, classes or list(COCO_CLASSES))
        files = [folder / images / image["file_name"] for image in content["images"]]
        identity = SplitIdentity(
            annotations_sha256=hashlib.sha256(text).hexdigest(),
            images=len(content["images"]),
            annotations=len(content["annotations"]),
        )
    if expected:
        _check_complete(path, folder / images, identity, expected)
    for file in tqdm(files, desc=f"checking {images}", mininterval=2, unit="image"):
        check_image(file)
    return identity


def _check_complete(annotations: Path, images: Path, identity: SplitIdentity, expected: ExpectedSplit) -> None:
    """Compare counts and hash with the expected ones, which takes seconds, before every image is checked."""
    remedy = "unpack its archive again, or correct data_root or the scale's expected_splits"
    if expected.annotations_sha256 not in (None, identity.annotations_sha256):
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) has SHA-256 {identity.annotations_sha256}, not"
            f" {expected.annotations_sha256}: {remedy}"
        )
    if identity.images != expected.images:
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) names {identity.images} images, not"
            f" {expected.images}: {remedy}"
        )
    found = sum(path.suffix.lower() in END_MARKS for path in images.iterdir()) if images.is_dir() else 0
    if found != expected.images:
        raise UserError(f"{images} ({images.resolve()}) holds {found} image files, not {expected.images}: {remedy}")


@contextmanager
def explain_annotations(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"annotation file {path} ({path.parent.resolve()}) does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"annotation file {path} is not JSON: {error}") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"annotation file {path} is not in COCO's instances format: {error}") from None


def classes_of(path: Path) -> list[str]:
    """Names of the categories of an annotation file, in its order.

    Parameters
    ----------
    path : Path
        The file, in COCO's instances format.

    Raises
    ------
    UserError
        If the file is missing or has another format, or has no categories.
    """
    with explain_annotations(path):
        names = [str(category["name"]) for category in json.loads(path.read_bytes())["categories"]]
    if not names:
        raise UserError(f"{path}: categories: there are none; needed: at least one, with id and name")
    return names


def _check_annotations(path: Path, content: dict[str, Any], classes: Sequence[str]) -> None:
    names = {category["id"]: category["name"] for category in content["categories"]}
    missing = [name for name in classes if name not in names.values()]
    if missing:
        raise UserError(
            f"{path}: categories: lacks {missing[0]!r}; needed: {', '.join(classes)}. A dataset with other classes says"
            " dataset.classes: annotations in its scale"
        )
    if list(names.values()) != list(classes):
        raise UserError(
            f"{path}: categories: {', '.join(names.values())}; expected the classes of the scale, or of the training split, in"
            f" their order: {', '.join(classes)}"
        )
    images = {image["id"] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in names:
            raise UserError(
                f"{path}: annotation {annotation['id']}: category_id {annotation['category_id']} is not among the file's"
                f" categories; allowed: {', '.join(map(str, sorted(names)))}"
            )
        if annotation["image_id"] not in images:
            raise UserError(f"{path}: annotation {annotation['id']}: image_id {annotation['image_id']} is not among the images")


def check_image(path: Path) -> None:
    """Look for the format's end mark, which a truncated file lacks; decode only what looks suspicious."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            if END_MARKS.get(path.suffix.lower(), b"\0never") in file.read():
                return
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise UserError(f"image {path} ({path.parent.resolve()}) does not exist") from None
    except PermissionError:
        raise
    except (OSError, SyntaxError) as error:
        raise UserError(f"image {path} is damaged: {error}; fetch it again") from None
