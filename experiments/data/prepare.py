"""Settings -> dataset: drawn, or linked and checked, and identified by the hash of its annotations."""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from pydantic import TypeAdapter
from tqdm import tqdm

from experiments.data.synthetic import write_synthetic_dataset
from experiments.errors import UserError, run_or_explain
from experiments.spec.scale import CocoDataset, Dataset, ExpectedSplit

TAIL_BYTES = 64
END_MARKS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}


def prepare_dataset(
    dataset: Dataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit] = MappingProxyType({})
) -> dict[str, Any]:
    """Draw a dataset into a folder, or link the folder to where it lies; check and describe it.

    Parameters
    ----------
    dataset : SyntheticDataset or CocoDataset
        Which dataset.
    folder : Path
        Where runs look for it; what was there is replaced.
    data_root : Path or None
        Where a dataset that is not synthetic lies.
    expected : dict
        What the splits ``train`` and ``val`` must hold, where that is known.

    Returns
    -------
    dict
        Per split, the SHA-256 of the annotation file and the numbers of images and annotations.

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
    return {name: _describe(folder, *paths, dataset.classes, expected.get(name)) for name, paths in splits.items()}


def check_stuff_maps(dataset: CocoDataset, data_root: Path) -> dict[str, Any]:
    """Make sure that every training image has a map of stuff and things, for detectors that learn from it.

    Parameters
    ----------
    dataset : CocoDataset
        Which dataset.
    data_root : Path
        Where it lies.

    Returns
    -------
    dict
        The folder of the maps and their number.

    Raises
    ------
    UserError
        If the folder or a map is missing, or a file is no map of labels.
    """
    _check_root(data_root)
    folder = data_root / dataset.train_stuff_maps
    remedy = (
        "HTC's semantic branch learns from the maps in stuffthingmaps_trainval2017.zip of COCO-Stuff:"
        f" unpack it, so that the maps of the training images lie in {folder}"
    )
    if not folder.is_dir():
        raise UserError(f"stuff maps: the folder {folder} does not exist; {remedy}")
    path = data_root / dataset.train_annotations
    with _explain_annotations(path):
        names = [Path(image["file_name"]).with_suffix(".png") for image in json.loads(path.read_bytes())["images"]]
    present = {file.relative_to(folder) for file in folder.rglob("*.png")}
    missing = [name for name in names if name not in present]
    if missing:
        raise UserError(f"stuff maps: {len(missing)} of {len(names)} are missing, such as {folder / missing[0]}; {remedy}")
    for name in tqdm(names, desc="checking stuff maps", mininterval=2, unit="map"):
        _check_image(folder / name)
        _check_labels(folder / name, remedy)
    return {"folder": dataset.train_stuff_maps, "stuff_maps": len(names)}


def _check_labels(path: Path, remedy: str) -> None:
    """Look into the header: mmcv would read a picture with a palette as three channels of colour."""
    with Image.open(path) as image:
        if image.mode != "L":
            raise UserError(f"stuff maps: {path} is not a grey image whose values are labels (mode {image.mode}); {remedy}")


def _remove(folder: Path) -> None:
    """Remove what an earlier call has drawn or linked; never what a link points to."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _check_root(data_root: Path | None) -> None:
    if data_root is None or not data_root.is_dir():
        raise UserError(f"experiments/config.yaml: data_root: {data_root} is not a folder")


def _link(folder: Path, data_root: Path | None) -> None:
    _check_root(data_root)
    target = data_root.resolve()
    if target == folder.resolve():
        return
    if folder.exists() and not folder.is_symlink():
        raise UserError(f"{folder} is a folder where a link to {target} is wanted; move it, or give it as data_root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove(folder)
    folder.symlink_to(target, target_is_directory=True)


def _describe(
    folder: Path, annotations: str, images: str, classes: list[str] | None, expected: ExpectedSplit | None
) -> dict[str, Any]:
    path = folder / annotations
    with _explain_annotations(path):
        text = path.read_bytes()
        content = json.loads(text)
        _check_annotations(path, content, classes or _coco_classes())
        files = [folder / images / image["file_name"] for image in content["images"]]
    identity = {
        "annotations_sha256": hashlib.sha256(text).hexdigest(),
        "images": len(content["images"]),
        "annotations": len(content["annotations"]),
    }
    if expected:
        _check_complete(path, folder / images, identity, expected)
    for file in tqdm(files, desc=f"checking {images}", mininterval=2, unit="image"):
        _check_image(file)
    return identity


def _check_complete(annotations: Path, images: Path, identity: dict[str, Any], expected: ExpectedSplit) -> None:
    """Compare counts and hash with what is known of a split, in seconds, before every image is looked at."""
    remedy = "unpack its archive again, or correct data_root or the scale's expected_splits"
    if expected.annotations_sha256 not in (None, identity["annotations_sha256"]):
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) has SHA-256 {identity['annotations_sha256']}, not"
            f" {expected.annotations_sha256}: {remedy}"
        )
    if identity["images"] != expected.images:
        raise UserError(
            f"annotation file {annotations} ({annotations.parent.resolve()}) names {identity['images']} images, not"
            f" {expected.images}: {remedy}"
        )
    found = sum(path.suffix.lower() in END_MARKS for path in images.iterdir()) if images.is_dir() else 0
    if found != expected.images:
        raise UserError(f"{images} ({images.resolve()}) holds {found} image files, not {expected.images}: {remedy}")


@contextmanager
def _explain_annotations(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"annotation file {path} ({path.parent.resolve()}) does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"annotation file {path} is not JSON: {error}") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"annotation file {path} is not in COCO's instances format: {error}") from None


def _coco_classes() -> list[str]:
    # mmdet brings torch with it, and only datasets with COCO's classes need the list.
    from mmdet.datasets import CocoDataset

    return list(CocoDataset.METAINFO["classes"])


def _check_annotations(path: Path, content: dict[str, Any], classes: list[str]) -> None:
    names = {category["id"]: category["name"] for category in content["categories"]}
    missing = [name for name in classes if name not in names.values()]
    if missing:
        raise UserError(f"{path}: categories: lacks {missing[0]!r}; needed: {', '.join(classes)}")
    images = {image["id"] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in names:
            raise UserError(
                f"{path}: annotation {annotation['id']}: category_id {annotation['category_id']} is not among the file's"
                f" categories; allowed: {', '.join(map(str, sorted(names)))}"
            )
        if annotation["image_id"] not in images:
            raise UserError(f"{path}: annotation {annotation['id']}: image_id {annotation['image_id']} is not among the images")


def _check_image(path: Path) -> None:
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
    if arguments.stuff_maps:
        found = check_stuff_maps(dataset, arguments.data_root)
    else:
        expected = TypeAdapter(dict[str, ExpectedSplit]).validate_json(arguments.expected)
        found = prepare_dataset(dataset, arguments.folder, arguments.data_root, expected)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    run_or_explain(main)
