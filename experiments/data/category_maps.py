"""Images of one category of a dataset in COCO's format: its objects become label maps, checked and identified as others are."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from tqdm import tqdm

from experiments.data.coco import check_split, read_json
from experiments.data.findings import raise_if_wrong
from experiments.data.folders import check_root, link_file, make_folder
from experiments.data.label_maps import identify
from experiments.data.masks import Masks
from experiments.errors import UserError
from experiments.spec.converted_datasets import CategoryMapsDataset
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import ExpectedSplit

BACKGROUND, OBJECT, IGNORED = 0, 1, 255


def prepare(
    dataset: CategoryMapsDataset,
    folder: Path,
    data_root: Path | None,
    expected: Mapping[str, ExpectedSplit],
    masks: Masks,
) -> CheckedDataset:
    """Write label maps into a folder, and link the images; see `experiments.data.prepare.prepare_dataset`."""
    root = check_root(data_root)
    make_folder(folder)
    for split, annotations, images in (
        ("train", dataset.train_annotations, dataset.train_images),
        ("val", dataset.val_annotations, dataset.val_images),
    ):
        _write_split(dataset, root, annotations, images, (folder / f"images/{split}", folder / f"maps/{split}"))
    return identify(dataset, folder, expected, masks)


def _write_split(dataset: CategoryMapsDataset, root: Path, annotations: str, images: str, made: tuple[Path, Path]) -> None:
    """The images of a split with the category, and their label maps, in the place of those of an earlier call."""
    path = root / annotations
    content, digest = read_json(path)
    split = check_split(path, content, digest, root / images, None, None, "any")
    raise_if_wrong([split.findings])
    if dataset.category not in split.classes:
        raise UserError(
            f"{path}: has no category {dataset.category!r}; allowed in the scale's dataset: category:"
            f" {', '.join(split.classes)}"
        )
    truth, names = _indexed(content), set()
    category = truth.getCatIds(catNms=[dataset.category])[0]
    numbers = sorted(truth.getImgIds(catIds=[category]))
    if not numbers:
        raise UserError(f"{path}: no image shows a {dataset.category}")
    for number in tqdm(numbers, desc=f"writing maps of {images}", unit="map", mininterval=1):
        image = truth.imgs[number]
        name = Path(image["file_name"])
        objects = [entry for entry in truth.imgToAnns[number] if entry["category_id"] == category]
        for place in made:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_label_map(truth, image, objects)).save((made[1] / name).with_suffix(".png"))
        link_file(made[0] / name, root / images / name)
        names.add(name.with_suffix(""))
    _remove_others(made, names)


def _indexed(content: Any) -> COCO:
    truth = COCO()
    truth.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def _label_map(truth: COCO, image: Mapping[str, Any], objects: list[dict[str, Any]]) -> np.ndarray:
    """(H, W) labels; objects hide crowds."""
    labels = np.full((image["height"], image["width"]), BACKGROUND, np.uint8)
    for entry in sorted(objects, key=lambda entry: -entry.get("iscrowd", 0)):
        labels[truth.annToMask(entry).astype(bool)] = IGNORED if entry.get("iscrowd") else OBJECT
    return labels


def _remove_others(made: tuple[Path, Path], names: set[Path]) -> None:
    """Remove links and maps of images that an earlier call had and this one has not."""
    for folder in made:
        for path in folder.rglob("*"):
            is_made = path.is_symlink() or (path.is_file() and folder == made[1] and path.suffix == ".png")
            if is_made and path.relative_to(folder).with_suffix("") not in names:
                path.unlink()
