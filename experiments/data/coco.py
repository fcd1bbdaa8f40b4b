"""Datasets in COCO's format: linked, checked, and identified by the hashes of their annotations."""

import gc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.annotations import check_annotations
from experiments.data.findings import Findings, raise_if_wrong
from experiments.data.folders import UNPACK_AGAIN, link_folder
from experiments.data.images import check_images, files_in_both
from experiments.data.masks import Masks, is_encoded, lacks_mask
from experiments.data.panoptic_maps import SegmentFiles, check_segments
from experiments.errors import UserError
from experiments.spec.dataset_files import IMAGE_ENDINGS
from experiments.spec.dataset_identity import CheckedDataset, DatasetIdentity, SplitCheck, SplitIdentity
from experiments.spec.datasets import CocoDataset, Dataset, ExpectedSplit
from experiments.spec.known_classes import COCO_CLASSES


def prepare(
    dataset: CocoDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Link a folder to a dataset; check and identify it. See `experiments.data.prepare.prepare_dataset`."""
    link_folder(folder, data_root)
    return identify(dataset, folder, expected, masks)


def identify(dataset: Dataset, folder: Path, expected: Mapping[Any, ExpectedSplit], masks: Masks) -> CheckedDataset:
    """Check both splits, first their annotations, then their images, and identify them by the hashes of their annotations.

    Parameters
    ----------
    dataset : Dataset
        The dataset, with annotations in COCO's format.
    folder : Path
        Its folder.
    expected : dict
        Expected content of the splits ``train`` and ``val``, if it is known.
    masks : {'any', 'polygons'} or None
        What masks every object needs.

    Raises
    ------
    UserError
        If a file is missing or damaged, or a split is not what was expected.
    DatasetError
        If annotations or images are wrong.
    """
    classes = None if dataset.classes == "annotations" else dataset.classes or list(COCO_CLASSES)
    files = dataset.objects
    assert files is not None, "of this format"
    train = read_split(folder, files.train_annotations, files.train_images, classes, expected.get("train"), masks)
    classes_of_val = classes or train.classes
    measurable: Masks = "any" if masks else None
    val = read_split(folder, files.val_annotations, files.val_images, classes_of_val, expected.get("val"), measurable)
    findings = [train.findings, val.findings]
    raise_if_wrong(findings)
    if not files.holds_others:
        for name, images in (("train", files.train_images), ("val", files.val_images)):
            _check_images_complete(folder / images, expected.get(name))
    of_train = check_images(train.sizes, f"checking {files.train_images}", train.findings)
    of_val = check_images(val.sizes, f"checking {files.val_images}", val.findings)
    files_in_both(of_train, of_val, val.findings)
    raise_if_wrong(findings)
    identities = _with_segments(dataset, folder, train, val)
    identity = DatasetIdentity(train=identities[0], val=identities[1], classes=None if classes else train.classes)
    checks = {
        name: SplitCheck(without_mask=split.without_mask, encoded_masks=split.encoded_masks, notices=split.findings.notices)
        for name, split in (("train", train), ("val", val))
    }
    return CheckedDataset(identity=identity, checks=checks)


def _with_segments(dataset: Dataset, folder: Path, train: "Split", val: "Split") -> list[SplitIdentity]:
    """The identities of both splits; with panoptic annotations these are checked, and part of them."""
    panoptic = dataset.panoptic
    if panoptic is None:
        return [train.identity, val.identity]
    identities, all_found = [], []
    for split, file, maps in (
        (train, panoptic.train_annotations, panoptic.train_maps),
        (val, panoptic.val_annotations, panoptic.val_maps),
    ):
        content, digest = read_json(folder / file)
        found = Findings(folder / file)
        of_split = SegmentFiles(folder / maps, split.images, panoptic.things, panoptic.stuff)
        segments, of_maps = check_segments(content, of_split, found)
        all_found.append(found)
        split.findings.notices.extend(found.notices)
        both = hashlib.sha256(f"{split.identity.annotations_sha256} {digest} {of_maps}".encode()).hexdigest()
        counted = split.identity.annotations + segments
        identities.append(split.identity.model_copy(update={"annotations_sha256": both, "annotations": counted}))
    raise_if_wrong(all_found)
    # What is drawn is drawn from the same settings, whether or not its segments are written too.
    return [train.identity, val.identity] if dataset.is_drawn else identities


@dataclass(frozen=True)
class Split:
    """A split whose annotations were read and checked.

    Attributes
    ----------
    identity : SplitIdentity
        Its identity.
    classes : list of str
        Names of its categories, in their order.
    sizes : dict
        File of each image to its annotated width and height.
    images : dict
        Id of each image to its file's name, width and height.
    without_mask, encoded_masks : int
        Objects without a mask, and with a run-length encoded one.
    findings : Findings
        What was found.
    """

    identity: SplitIdentity
    classes: list[str]
    sizes: dict[Path, tuple[int, int]]
    images: dict[Any, tuple[str, int, int]]
    without_mask: int
    encoded_masks: int
    findings: Findings


def read_split(
    folder: Path, annotations: str, images: str, classes: Sequence[str] | None, expected: ExpectedSplit | None, masks: Masks
) -> Split:
    """Read and check the annotations of a split.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    annotations, images : str
        Annotation file and folder of the images, relative to it.
    classes : sequence of str or None
        Names of the classes; None: those of the file.
    expected : ExpectedSplit or None
        Expected content of the split, if it is known.
    masks : {'any', 'polygons'} or None
        What masks every object needs.

    Raises
    ------
    UserError
        If the file is missing or no JSON, or the split is not what was expected.
    """
    path = folder / annotations
    return check_split(path, *read_json(path), folder / images, classes, expected, masks)


def check_split(
    path: Path,
    content: Any,
    digest: str,
    images: Path,
    classes: Sequence[str] | None,
    expected: ExpectedSplit | None,
    masks: Masks,
) -> Split:
    """Check the annotations of a split that were read; other arguments and errors as for `read_split`.

    Parameters
    ----------
    path : Path
        Their file.
    content, digest
        From `read_json`.
    images : Path
        Folder of the images.
    """
    findings = Findings(path)
    names = _names(content)
    with without_garbage_collection():
        without_mask = check_annotations(content, names if classes is None else classes, findings)
    if not findings.is_right:
        return Split(SplitIdentity(annotations_sha256=digest, images=0, annotations=0), names, {}, {}, 0, 0, findings)
    if masks and without_mask:
        count = len(content["annotations"])
        findings.refuse(
            list(filter(lacks_mask, content["annotations"])),
            lambda a: (
                f"annotation {a['id']}: segmentation: is missing, as in {without_mask} of {count} objects; needed: polygons or"
                " RLE, for the detectors with masks that are asked for"
            ),
        )
    encoded = list(filter(is_encoded, content["annotations"]))
    if masks == "polygons" and encoded:
        findings.refuse(
            encoded,
            lambda a: (
                f"annotation {a['id']}: segmentation: is RLE, as in {len(encoded)} of {len(content['annotations'])} objects;"
                " needed: polygons, for the schedules with polygons: true that are asked for"
            ),
        )
    identity = SplitIdentity(annotations_sha256=digest, images=len(content["images"]), annotations=len(content["annotations"]))
    if expected:
        _check_annotations_complete(path, identity, expected)
    sizes = {images / image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
    images_by_id = {image["id"]: (image["file_name"], image["width"], image["height"]) for image in content["images"]}
    return Split(identity, names, sizes, images_by_id, without_mask, len(encoded), findings)


def read_json(path: Path) -> tuple[Any, str]:
    """The content of an annotation file, and its SHA-256.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UserError
        If it is missing or no JSON.
    """
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        # Loaders read it as text, so a byte order mark is none of it.
        text = content.decode("utf-8")
        del content
        with without_garbage_collection():
            return json.loads(text), digest
    except FileNotFoundError:
        raise UserError(f"annotation file {path} ({path.parent.resolve()}) does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"annotation file {path} is not JSON: {error}") from None


def _names(content: Any) -> list[str]:
    """Names of the categories, as far as there are any."""
    categories = content.get("categories") if isinstance(content, dict) else None
    entries = categories if isinstance(categories, list) else []
    return [entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def _check_annotations_complete(annotations: Path, identity: SplitIdentity, expected: ExpectedSplit) -> None:
    """Compare count and hash with the expected ones, which takes seconds, before every image is checked."""
    if expected.annotations_sha256 not in (None, identity.annotations_sha256):
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) has SHA-256 {identity.annotations_sha256}, not"
            f" {expected.annotations_sha256}: {UNPACK_AGAIN}"
        )
    if identity.images != expected.images:
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) names {identity.images} images, not"
            f" {expected.images}: {UNPACK_AGAIN}"
        )


def _check_images_complete(images: Path, expected: ExpectedSplit | None) -> None:
    if expected is None:
        return
    found = sum(path.suffix.lower() in IMAGE_ENDINGS for path in images.iterdir()) if images.is_dir() else 0
    if found != expected.images:
        raise UserError(f"{images} ({images.resolve()}) holds {found} image files, not {expected.images}: {UNPACK_AGAIN}")


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: millions of new objects, none of them garbage, would double the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
