"""The gate for annotations in COCO's instances format: what loaders and metrics read is right, or refused in one sentence.

A right file has the right numbers whatever reads it; a wrong one mostly trains without a word. What is refused, and what is a
notice, is listed in docs/own_dataset.md.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from experiments.data.boxes import check_areas, check_boxes
from experiments.data.entries import Entry, are_numbers, is_number, kind_of, short, shown, the
from experiments.data.findings import Findings
from experiments.data.masks import check_masks

PARTS = ("images", "annotations", "categories")
# Beyond it a tool that reads ids as float64 takes two for one.
LARGEST_ID = 2**53
# Shorter sides of images, in pixels, below which mmdetection leaves an image out of the training.
SMALLEST_IMAGE = 32
NAMED_CLASSES = 5


def check_annotations(content: Any, classes: Sequence[str], findings: Findings) -> int:
    """Check all that loaders and metrics read of an annotation file.

    Parameters
    ----------
    content : object
        The parsed file.
    classes : sequence of str
        Names of the classes, in the order that the categories must have.
    findings : Findings
        Receives faults and notices.

    Returns
    -------
    int
        Number of objects without a mask, crowds left out.
    """
    if not _has_its_parts(content, findings):
        return 0
    images, annotations, categories = content["images"], content["annotations"], content["categories"]
    _check_images(images, findings)
    _check_categories(categories, classes, findings)
    if not findings.is_right:
        return 0  # annotations refer to both
    return _check_objects(annotations, {image["id"]: image for image in images}, categories, findings)


def _has_its_parts(content: Any, findings: Findings) -> bool:
    if not isinstance(content, dict):
        findings.refuse([content], lambda found: f"is {kind_of(found)}; allowed: an object, as in COCO's instances format")
        return False
    findings.refuse(
        [part for part in PARTS if part not in content],
        lambda part: f"lacks the key {part!r}; needed: {', '.join(PARTS)}, as in COCO's instances format",
    )
    present = [part for part in PARTS if part in content]
    findings.refuse(
        [part for part in present if not isinstance(content[part], list)],
        lambda part: f"{part}: is {kind_of(content[part])}; allowed: a list",
    )
    if not findings.is_right:
        return False
    findings.refuse([part for part in PARTS if not content[part]], lambda part: f"{part}: there are none; needed: at least one")
    entries = [(part, index, entry) for part in PARTS for index, entry in enumerate(content[part])]
    findings.refuse(
        [place for place in entries if not isinstance(place[2], dict)],
        lambda place: f"{place[0]}[{place[1]}]: is {kind_of(place[2])}; allowed: an object",
    )
    return findings.is_right


# Images and categories.


def _check_images(images: list[Entry], findings: Findings) -> None:
    _check_ids("image", images, findings)
    name = "allowed: a path below the folder of the images"
    findings.refuse(
        [image for image in images if not (isinstance(image.get("file_name"), str) and image["file_name"].strip())],
        lambda image: f"{the('image', image)}: file_name: {shown(image, 'file_name')}; {name}",
    )
    sides = [(image, key) for key in ("width", "height") for image in images]
    findings.refuse(
        [(image, key) for image, key in sides if type(image.get(key)) is not int or image[key] <= 0],
        lambda side: f"{the('image', side[0])}: {side[1]}: {shown(*side)}; allowed: a whole number of pixels, above 0",
    )
    if findings.is_right:
        _refuse_twice("image", images, "file_name", findings)
        small = sum(min(image["width"], image["height"]) < SMALLEST_IMAGE for image in images)
        findings.notice(small, f"images are smaller than {SMALLEST_IMAGE} pixels; mmdetection leaves them out of the training")


def _check_categories(categories: list[Entry], classes: Sequence[str], findings: Findings) -> None:
    _check_ids("category", categories, findings)
    findings.refuse(
        [category for category in categories if not isinstance(category.get("name"), str) or not category["name"].strip()],
        lambda category: f"{the('category', category)}: name: {shown(category, 'name')}; allowed: text",
    )
    if not findings.is_right:
        return
    _refuse_twice("category", categories, "name", findings)
    names = [category["name"] for category in categories]
    remedy = "a dataset with other classes says dataset.classes: annotations in its scale"
    findings.refuse(
        [name for name in classes if name not in names],
        lambda name: f"categories: lacks {name!r}{_nearest(name, names)}; {remedy}",
    )
    findings.refuse(
        [name for name in names if name not in classes],
        lambda name: f"categories: {name!r} is no class of the scale, or of the training split{_nearest(name, classes)}",
    )
    if findings.is_right and names != list(classes):
        first = next(index for index, (name, wanted) in enumerate(zip(names, classes, strict=True)) if name != wanted)
        findings.refuse(
            [first],
            lambda index: (
                f"categories[{index}]: is {names[index]!r}; allowed: the order of the scale's classes, or of the training"
                f" split's, where it is {classes[index]!r}"
            ),
        )


def _nearest(name: str, names: Iterable[str]) -> str:
    found = get_close_matches(name, names, 1, 0.6)
    return f"; the nearest is {found[0]!r}" if found else ""


# Entrys.


def _check_objects(annotations: list[Entry], images: dict[int, Entry], categories: list[Entry], findings: Findings) -> int:
    # COCO's evaluation takes id 0 for "found nothing", and would count the object as missed.
    _check_ids("annotation", annotations, findings, least=1)
    _check_reference(annotations, "image_id", images.keys(), "the images", findings)
    _check_reference(annotations, "category_id", {category["id"] for category in categories}, "the categories", findings)
    _check_crowds(annotations, findings)
    _check_numbers(annotations, findings)
    if not findings.is_right:
        return 0
    boxes = np.array(list(chain.from_iterable(a["bbox"] for a in annotations)), float).reshape(-1, 4)
    areas = np.array([a["area"] for a in annotations], float)
    sizes = np.array([(images[a["image_id"]]["width"], images[a["image_id"]]["height"]) for a in annotations], float)
    check_boxes(annotations, boxes, sizes, findings)
    check_areas(annotations, areas, boxes, sizes, findings)
    without_mask = check_masks(annotations, images, boxes, findings)
    _count(annotations, categories, boxes, findings)
    return without_mask


def _check_ids(kind: str, entries: list[Entry], findings: Findings, least: int = 0) -> None:
    wrong = [entry for entry in entries if type(entry.get("id")) is not int or not least <= entry["id"] <= LARGEST_ID]
    findings.refuse(
        wrong,
        lambda entry: f"{the(kind, entry)}: id: {shown(entry, 'id')}; allowed: a whole number from {least} to 2^53, not text",
    )
    if not wrong:
        _refuse_twice(kind, entries, "id", findings)


def _refuse_twice(kind: str, entries: list[Entry], key: str, findings: Findings) -> None:
    values = [entry[key] for entry in entries]
    if len(set(values)) == len(values):
        return
    first: dict[Any, Entry] = {}
    for entry in entries:
        first.setdefault(entry[key], entry)
    again = [entry for entry in entries if first[entry[key]] is not entry]
    findings.refuse(
        again,
        lambda entry: (
            f"{the(kind, entry)}: {key}: {entry[key]!r} stands twice, at {_named(first[entry[key]])} and {_named(entry)};"
            " allowed: once"
        ),
    )


def _check_reference(annotations: list[Entry], key: str, known: Iterable[int], where: str, findings: Findings) -> None:
    known = set(known)
    findings.refuse(
        [a for a in annotations if type(a.get(key)) is not int or a[key] not in known],
        lambda a: (
            f"{the('annotation', a)}: {key}: {shown(a, key)}; allowed: an id of {where}, whole numbers from {min(known)} to"
            f" {max(known)}"
        ),
    )


def _check_crowds(annotations: list[Entry], findings: Findings) -> None:
    findings.refuse(
        [a for a in annotations if "iscrowd" in a and (type(a["iscrowd"]) is not int or a["iscrowd"] not in (0, 1))],
        lambda a: f"{the('annotation', a)}: iscrowd: {shown(a, 'iscrowd')}; allowed: 0 or 1",
    )
    # mmdetection leaves such an object out of the training, COCO's evaluation looks at iscrowd alone.
    findings.refuse(
        [a for a in annotations if a.get("ignore") and not a.get("iscrowd")],
        lambda a: f"{the('annotation', a)}: ignore: {shown(a, 'ignore')}; allowed: iscrowd: 1, which metrics know too",
    )
    missing = sum("iscrowd" not in a for a in annotations)
    findings.notice(missing, "annotations have no iscrowd; it is taken as 0")


def _check_numbers(annotations: list[Entry], findings: Findings) -> None:
    findings.refuse(
        [a for a in annotations if not are_numbers(a.get("bbox"), 4)],
        lambda a: (
            f"{the('annotation', a)}: bbox: {shown(a, 'bbox')}; allowed: four finite numbers x, y, width, height, in pixels"
        ),
    )
    missing = [a for a in annotations if "area" not in a]
    findings.refuse(
        missing, lambda a: f"{the('annotation', a)}: area: is missing; needed: the pixels of the mask, or else of the box"
    )
    findings.refuse(
        [a for a in annotations if "area" in a and not (is_number(a["area"]) and a["area"] >= 0)],
        lambda a: f"{the('annotation', a)}: area: {shown(a, 'area')}; allowed: a number of pixels, at least 0",
    )


def _count(annotations: list[Entry], categories: list[Entry], boxes: np.ndarray, findings: Findings) -> None:
    found = Counter(a["category_id"] for a in annotations)
    without = [category["name"] for category in categories if not found[category["id"]]]
    named = ", ".join(without[:NAMED_CLASSES]) + (", …" if len(without) > NAMED_CLASSES else "")
    findings.notice(len(without), f"of {len(categories)} classes have no object: {named}")
    objects = pd.DataFrame(boxes).assign(
        image=[a["image_id"] for a in annotations], category=[a["category_id"] for a in annotations]
    )
    findings.notice(int(objects.duplicated().sum()), "objects have the same image, class and box as another")
    learned = sum(not a.get("iscrowd") for a in annotations)
    if not learned:
        findings.refuse([None], lambda _: "annotations: all of them are crowds; needed: an object with iscrowd: 0")


def _named(entry: Entry) -> str:
    name = entry.get("file_name", entry.get("name"))
    return short(name) if name is not None else f"an annotation of image {short(entry.get('image_id'))}"
