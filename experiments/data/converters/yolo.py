"""YOLO's format: a text file beside each image, a line for each object, places as shares of the image's sides."""

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import yaml

from experiments.data.converters.coco_content import (
    IMAGE_ENDINGS,
    AnnotatedImage,
    AnnotatedObject,
    Box,
    read_text,
    size_of_image,
)
from experiments.errors import UserError, first_line, raise_first_of

FIELDS_OF_A_BOX = 5
FEWEST_FIELDS_OF_AN_OUTLINE = 7
# What writers round to.
ROUNDING = 1e-4


def read_classes(path: Path) -> list[str]:
    """Names of the classes by their numbers.

    Parameters
    ----------
    path : Path
        ``data.yaml`` with ``names``, a list or a mapping from numbers, or a text file with a name in each line.

    Raises
    ------
    UserError
        If the file names no classes, or leaves a number out.
    """
    is_yaml = path.suffix in (".yaml", ".yml")
    names = _names_in_yaml(path) if is_yaml else [line.strip() for line in read_text(path).splitlines()]
    names = [name for name in names if name]
    if not names:
        raise UserError(f"{path}: names no classes; allowed: the key names in YAML, or a name in each line")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: names class {name} {times} times; allowed: once")
    return names


def _names_in_yaml(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML: {first_line(error, 'it cannot be read')}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, dict):
        return [str(name) for name in names or []]
    by_number = {str(number): str(name) for number, name in names.items()}
    missing = [number for number in map(str, range(len(names))) if number not in by_number]
    if missing:
        raise UserError(f"{path}: names has no class {missing[0]}; allowed: numbers from 0, none left out")
    return [by_number[str(number)] for number in range(len(names))]


def read_yolo(images: Path, labels: Path, classes: Sequence[str]) -> list[AnnotatedImage]:
    """All images of a folder and of those in it, in the order of their paths; one without a file of labels has no objects.

    Parameters
    ----------
    images, labels : Path
        Folders alike; images are named relative to theirs.
    classes : sequence of str
        Names of the classes by their numbers.

    Raises
    ------
    UserError
        If there are no images, a file of labels has no image, or one is not of this format. Every such file is told.
    """
    pictures = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not pictures:
        raise UserError(f"{images}: holds no images; allowed: {', '.join(IMAGE_ENDINGS)}")
    label_files = {path.relative_to(labels).with_suffix("") for path in labels.rglob("*.txt") if path.name != "classes.txt"}
    if alone := sorted(label_files - {path.relative_to(images).with_suffix("") for path in pictures}):
        raise UserError(f"{labels / alone[0]}.txt: has no image in {images}, as {len(alone)} of {len(label_files)} have none")
    if not label_files:
        raise UserError(f"{labels}: holds no files of labels; allowed: a .txt for each image with objects")
    found: list[AnnotatedImage] = []
    faults: list[UserError] = []
    for path in pictures:
        name = path.relative_to(images)
        try:
            size = size_of_image(path)
            objects = _read_labels(labels / name.with_suffix(".txt"), size, len(classes))
            found.append(AnnotatedImage(name.as_posix(), size, objects))
        except UserError as error:
            faults.append(error)
    raise_first_of(faults)
    return found


def _read_labels(path: Path, size: tuple[int, int], classes: int) -> list[AnnotatedObject]:
    if not path.is_file():
        return []
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [_read_line(f"{path}: line {number}", line.split(), size, classes) for number, line in lines if line.strip()]


def _read_line(place: str, fields: list[str], size: tuple[int, int], classes: int) -> AnnotatedObject:
    is_outline = len(fields) >= FEWEST_FIELDS_OF_AN_OUTLINE and len(fields) % 2 == 1
    if len(fields) != FIELDS_OF_A_BOX and not is_outline:
        allowed = "class, x and y of the centre, width, height, or class and at least 3 points"
        raise UserError(f"{place}: has {len(fields)} fields; allowed: {allowed}")
    if not (fields[0].isdigit() and int(fields[0]) < classes):
        raise UserError(f"{place}: class is {fields[0]!r}; allowed: 0 to {classes - 1}")
    shares = _shares(place, fields[1:])
    label, lengths = int(fields[0]), (shares[i] * size[i % 2] for i in range(len(shares)))
    if is_outline:
        outline = tuple(lengths)
        xs, ys = outline[::2], outline[1::2]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        return AnnotatedObject(label, _with_area(place, box), outline=outline)
    x, y, width, height = lengths
    return AnnotatedObject(label, _with_area(place, (x - width / 2, y - height / 2, width, height)))


def _shares(place: str, fields: list[str]) -> list[float]:
    try:
        shares = [float(field) for field in fields]
    except ValueError:
        raise UserError(f"{place}: is {' '.join(fields)} after the class; allowed: numbers from 0 to 1") from None
    wrong = [share for share in shares if not (isfinite(share) and -ROUNDING <= share <= 1 + ROUNDING)]
    if wrong:
        raise UserError(f"{place}: has {wrong[0]:g}; allowed: shares of the image's sides, from 0 to 1")
    return [min(max(share, 0.0), 1.0) for share in shares]


def _with_area(place: str, box: Box) -> Box:
    if box[2] <= 0 or box[3] <= 0:
        raise UserError(f"{place}: the object has no width or no height; allowed: above 0")
    return box
