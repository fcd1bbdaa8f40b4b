"""Images with a label for each pixel: linked, checked, and identified by the hashes of their label maps."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data.findings import Findings, raise_if_wrong
from experiments.data.folders import UNPACK_AGAIN, link_folder
from experiments.data.images import check_images, files_in_both, in_threads
from experiments.data.instance_maps import check_instances
from experiments.data.masks import Masks
from experiments.errors import UserError
from experiments.spec.dataset_files import InstanceMaps, LabelMaps
from experiments.spec.dataset_identity import CheckedDataset, DatasetIdentity, SplitCheck, SplitIdentity
from experiments.spec.datasets import Dataset, ExpectedSplit, LabelMapDataset

# Grey values, or indices of a palette: what loaders read as labels.
LABEL_MODES = ("L", "P")
LABELS = 256
# Share of ignored pixels of a split from which a reader is told.
MUCH = 0.5
TOLD_LABELS = 5


def prepare(
    dataset: LabelMapDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Link a folder to a dataset; check and identify it. See `experiments.data.prepare.prepare_dataset`."""
    link_folder(folder, data_root)
    return identify(dataset, folder, expected, masks)


def identify(dataset: Dataset, folder: Path, expected: Mapping[Any, ExpectedSplit], masks: Masks) -> CheckedDataset:
    """Check both splits, first their label maps, then their images, and identify them by the hashes of the maps.

    Parameters
    ----------
    dataset : Dataset
        The dataset, with label maps.
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
        If label maps or images are wrong.
    """
    maps = dataset.label_maps
    assert maps is not None, "of this format"
    train = _read_split(folder, maps.train_images, maps.train_maps, maps, None, expected.get("train"))
    val = _read_split(folder, maps.val_images, maps.val_maps, maps, maps.instances, expected.get("val"))
    findings = [train.findings, val.findings]
    raise_if_wrong(findings)
    said_by = "width and height of its label map"
    of_train = check_images(train.sizes, f"checking {maps.train_images}", train.findings, said_by)
    of_val = check_images(val.sizes, f"checking {maps.val_images}", val.findings, said_by)
    if not dataset.measures_training_images:
        files_in_both(of_train, of_val, val.findings)
    raise_if_wrong(findings)
    checks = {
        name: SplitCheck(without_mask=0, notices=split.findings.notices) for name, split in (("train", train), ("val", val))
    }
    return CheckedDataset(identity=DatasetIdentity(train=train.identity, val=val.identity), checks=checks)


@dataclass(frozen=True)
class _Split:
    identity: SplitIdentity
    sizes: dict[Path, tuple[int, int]]
    findings: Findings


@dataclass(frozen=True)
class _Content:
    """What a file of labels holds: its size, how many pixels have each label, its hash; or why it is refused."""

    size: tuple[int, int] = (0, 0)
    pixels: tuple[int, ...] = ()
    digest: bytes = b""
    fault: str | None = None


def _read_split(
    folder: Path, images: str, maps: str, labels: LabelMaps, instances: InstanceMaps | None, expected: ExpectedSplit | None
) -> _Split:
    image_folder, map_folder = folder / images, folder / maps
    found_images = sorted(path for path in image_folder.rglob(f"*{labels.image_ending}") if path.is_file())
    files = _some(found_images, image_folder, labels.image_ending)
    found_maps = _some(labels.map_files(map_folder), map_folder, labels.map_ending)
    map_files = {path.relative_to(map_folder): path for path in found_maps}
    pairs = {file: map_files.get(_map_of(file.relative_to(folder / images), labels)) for file in files}
    findings = Findings(folder / maps)
    _check_names(pairs, folder / maps, folder / images, labels, findings)
    without_image = len(map_files) - sum(path is not None for path in pairs.values())
    findings.notice(without_image, f"label maps have no image in {images} and are left out")
    found = [path for path in pairs.values() if path]
    contents = dict(zip(found, in_threads(_read_content, found, f"checking {maps}", "map"), strict=True))
    findings.refuse(
        [(path, content.fault) for path, content in contents.items() if content.fault],
        lambda wrong: f"label map {wrong[0].name} {wrong[1]}",
    )
    _check_labels(contents, labels, findings)
    digests = [content.digest for content in contents.values()]
    if instances:
        right = [path for path, content in contents.items() if not content.fault]
        digests += check_instances(right, labels, instances, findings)
    digest = hashlib.sha256(b"".join(digests)).hexdigest()
    identity = SplitIdentity(annotations_sha256=digest, images=len(files), annotations=len(found))
    if expected:
        _check_complete(folder / maps, identity, expected)
    sizes = {file: contents[path].size for file, path in pairs.items() if path}
    return _Split(identity, sizes, findings)


def _some(found: list[Path], folder: Path, ending: str) -> list[Path]:
    if not found:
        reason = f"holds no files that end in {ending}" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} ({folder.resolve()}) {reason}: correct data_root or the scale's dataset")
    return found


def _map_of(image: Path, labels: LabelMaps) -> Path:
    return image.with_name(image.name.removesuffix(labels.image_ending) + labels.map_ending)


def _check_names(pairs: Mapping[Path, Path | None], maps: Path, images: Path, labels: LabelMaps, findings: Findings) -> None:
    findings.refuse(
        [file for file, path in pairs.items() if path is None],
        lambda file: (
            f"image {file.relative_to(images)} has no label map; allowed: a file"
            f" {maps / _map_of(file.relative_to(images), labels)}"
        ),
    )
    first: dict[str, Path] = {}
    twice = [(file, first[file.stem]) for file in pairs if first.setdefault(file.stem, file) != file]
    findings.refuse(
        twice,
        lambda both: (
            f"images {both[0].relative_to(images)} and {both[1].relative_to(images)} have the same name, by which predictions"
            " are kept; allowed: each name once"
        ),
    )


def _read_content(path: Path) -> _Content:
    try:
        content = path.read_bytes()
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            if mode not in LABEL_MODES:
                return _Content(fault=f"has the mode {mode}{_in_words(mode)}; allowed: one label of 8 bits for each pixel")
            pixels = np.bincount(np.asarray(image).ravel(), minlength=LABELS)
            return _Content(image.size, tuple(pixels.tolist()), hashlib.sha256(content).digest())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Content(fault=f"is damaged, or no image: {error}; fetch it again")


def _in_words(mode: str) -> str:
    if mode.startswith("I"):
        return ", 16 bits, of which loaders keep 8"
    return ", colours in the place of labels" if mode.startswith(("RGB", "CMYK", "YCbCr")) else ""


def _check_labels(contents: Mapping[Path, _Content], labels: LabelMaps, findings: Findings) -> None:
    first = int(labels.zero_is_ignored)
    allowed = {*range(len(labels.classes) + first), labels.ignored}
    wrong = []
    for path, content in contents.items():
        if foreign := [label for label, pixels in enumerate(content.pixels) if pixels and label not in allowed]:
            wrong.append((path, foreign))
    last = len(labels.classes) - 1
    zero = "0 and " if labels.zero_is_ignored else ""
    findings.refuse(
        wrong,
        lambda found: (
            f"label map {found[0].name} has {_listed(found[1])}; allowed: {first} to {last + first} for"
            f" {labels.classes[0]} to {labels.classes[last]}, and {zero}{labels.ignored}, ignored: ids of another numbering"
            f" must be turned into these{_remedy(found[0])}"
        ),
    )
    totals = np.sum([(0,) * LABELS, *(content.pixels for content in contents.values() if content.pixels)], axis=0)
    ignored = totals[labels.ignored] + (totals[0] if labels.zero_is_ignored else 0)
    said = f"label {zero.replace('and', 'or')}{labels.ignored}"
    if totals.sum() and ignored == totals.sum():
        findings.refuse([said], lambda words: f"all pixels have the {words}, ignored; allowed: labels of classes")
    elif ignored > MUCH * totals.sum():
        findings.notices.append(f"{ignored / totals.sum():.0%} of all pixels have the {said} and are ignored")
    absent = [name for label, name in enumerate(labels.classes, start=first) if not totals[label]]
    findings.notice(len(absent), f"classes have no pixel: {', '.join(absent[:TOLD_LABELS])}")


def _listed(labels: Sequence[int]) -> str:
    named = ", ".join(map(str, labels[:TOLD_LABELS])) + (", …" if len(labels) > TOLD_LABELS else "")
    return f"the label{'s' if len(labels) > 1 else ''} {named}"


def _remedy(path: Path) -> str:
    if path.stem.endswith("_labelIds"):
        return " (cityscapesscripts' createTrainIdLabelImgs writes the maps of Cityscapes' train ids)"
    return ""


def _check_complete(maps: Path, identity: SplitIdentity, expected: ExpectedSplit) -> None:
    if identity.images != expected.images:
        raise UserError(f"{maps} ({maps.resolve()}) belongs to {identity.images} images, not {expected.images}: {UNPACK_AGAIN}")
    if expected.annotations_sha256 not in (None, identity.annotations_sha256):
        raise UserError(
            f"{maps} ({maps.resolve()}): its label maps have SHA-256 {identity.annotations_sha256} together, not"
            f" {expected.annotations_sha256}: {UNPACK_AGAIN}"
        )
