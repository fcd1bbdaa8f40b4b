"""Datasets in COCO's format, written in those of PASCAL VOC and VisDrone."""

import shutil
from pathlib import Path
from typing import Any

from PIL import Image

XML = "<annotation>{}</annotation>"
OBJECT = """<object><name>{}</name><difficult>{}</difficult>
  <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def _by_image(content: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [
        (image["file_name"], [entry for entry in content["annotations"] if entry["image_id"] == image["id"]])
        for image in content["images"]
    ]


def write_voc(content: dict[str, Any], images: Path, folder: Path, split: str) -> None:
    """A list of images in a folder such as ``VOC2007``; crowds become difficult objects. Boxes must be of whole pixels."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    stems = []
    for file_name, entries in _by_image(content):
        stems.append(f"{split}_{Path(file_name).stem}")
        shutil.copy(images / file_name, folder / f"JPEGImages/{stems[-1]}{Path(file_name).suffix}")
        boxes = [(entry, [int(side) for side in entry["bbox"]]) for entry in entries]
        objects = [
            OBJECT.format(names[entry["category_id"]], entry["iscrowd"], x + 1, y + 1, x + width, y + height)
            for entry, (x, y, width, height) in boxes
        ]
        (folder / f"Annotations/{stems[-1]}.xml").write_text(XML.format("".join(objects)))
    (folder / f"ImageSets/Main/{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def write_visdrone(content: dict[str, Any], images: Path, folder: Path) -> None:
    """A folder such as ``VisDrone2019-DET-train``; classes by their numbers, an ignored region in the first image."""
    for part in ("annotations", "images"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, (file_name, entries) in enumerate(_by_image(content)):
        stem = Path(file_name).stem
        Image.open(images / file_name).convert("RGB").save(folder / f"images/{stem}.jpg", quality=95)
        lines = ["{},{},{},{},1,{},0,0".format(*map(int, entry["bbox"]), entry["category_id"]) for entry in entries]
        lines += ["0,0,9,9,0,0,0,0,"] * (number == 0)
        (folder / f"annotations/{stem}.txt").write_text("\n".join(lines))
