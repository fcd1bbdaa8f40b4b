"""YOLO's format: a text file beside each image, a line for each object, places as shares of the image's sides."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from experiments.data.converters.coco_content import (
    AnnotatedImage,
    AnnotatedObject,
    Box,
    read_text,
    size_of_image,
)
from experiments.errors import UserError, each_result
from experiments.spec.dataset_files import IMAGE_ENDINGS

FIELDS_OF_A_BOX = 5
FEWEST_FIELDS_OF_AN_OUTLINE = 7
# What writers round to.
ROUNDING = 1e-4


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

    def read(path: Path) -> AnnotatedImage:
        name, size = path.relative_to(images), size_of_image(path)
        return AnnotatedImage(name.as_posix(), size, _read_labels(labels / name.with_suffix(".txt"), size, len(classes)))

    return each_result(read, pictures)


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
    if not (fields[0].isdecimal() and int(fields[0]) < classes):
        raise UserError(f"{place}: class is {fields[0]!r}; allowed: 0 to {classes - 1}")
    shares = _shares(place, fields[1:])
    label, lengths = int(fields[0]), (shares[i] * size[i % 2] for i in range(len(shares)))
    if is_outline:
        outline = tuple(lengths)
        xs, ys = outline[::2], outline[1::2]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        return AnnotatedObject(place, label, _with_area(place, box), outline=outline)
    x, y, width, height = lengths
    return AnnotatedObject(place, label, _with_area(place, (x - width / 2, y - height / 2, width, height)))


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
