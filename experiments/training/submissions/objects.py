"""Boxes and masks in COCO's test images, as its evaluation server takes them."""

import json
import os
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from mmengine.config import Config

from experiments.errors import UserError
from experiments.files import replacing
from experiments.spec.scale import Scale
from experiments.spec.test_sets import ObjectTestSet

TASKS = ("detection", "instance_segmentation")
TAKES = "boxes and masks"


def check(scale: Scale, test_set: ObjectTestSet) -> None:
    """Refuse test images that are missing.

    Raises
    ------
    UserError
        If the list of images cannot be read, or some are missing.
    """
    folder, path = Path(scale.data_folder), Path(scale.data_folder) / test_set.image_info
    remedy = "it comes in image_info_test2017.zip of COCO"
    try:
        content = json.loads(path.read_bytes())
        names = [image["file_name"] for image in content["images"]]
        content["categories"]
    except FileNotFoundError:
        raise UserError(f"list of test images {path} ({path.parent.resolve()}) does not exist; {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not COCO's list of images: {type(error).__name__} {error}; {remedy}") from None
    images = folder / test_set.images
    present = {file.name for file in os.scandir(images)} if images.is_dir() else set()
    missing = [name for name in names if name not in present]
    if missing:
        raise UserError(
            f"test images: {len(missing)} of {len(names)} are missing, such as {images / missing[0]} ({images.resolve()});"
            " they come in test2017.zip of COCO"
        )


def test_on(config: Config, scale: Scale, test_set: ObjectTestSet, folder: Path) -> None:
    """Let a config's test find objects in the test images and write them under a folder."""
    config.test_dataloader.dataset.update(ann_file=test_set.image_info, data_prefix={"img": test_set.images})
    config.test_evaluator.update(
        ann_file=scale.data_folder + test_set.image_info, format_only=True, outfile_prefix=str(folder / "detections")
    )


def write_archives(folder: Path, output: Path, scale: Scale, test_set: ObjectTestSet, algorithm: str) -> list[Path]:
    """Write ``box/detections_<test set>_<algorithm>_results.zip`` and, where the detector has masks, ``mask/`` with the same.

    They are two entries on the server, which splits file names at underscores.
    """
    archives = []
    for kind, part in (("box", "bbox"), ("mask", "segm")):
        path = folder / f"detections.{part}.json"
        if path.exists():
            archive = output / kind / f"detections_{test_set.name}_{algorithm}_results.zip"
            _write_archive(archive, _entries(json.loads(path.read_bytes()), kind))
            archives.append(archive)
    return archives


def _entries(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Drop the boxes of masks: given both, COCO's code takes an object's size from its box."""
    return found if kind == "box" else [{key: value for key, value in entry.items() if key != "bbox"} for entry in found]


def _write_archive(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, ZipFile(draft, "w", ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.json", json.dumps(entries))
