"""Objects that were read from another format -> the content of a file in COCO's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from experiments.errors import UserError

Box = tuple[float, float, float, float]
# From this orientation on, width and height change places when a photo is turned.
TURNED_BY_A_QUARTER = 5


@dataclass(frozen=True)
class AnnotatedObject:
    """An object of an image.

    Attributes
    ----------
    place : str
        Where it was read: the file, and which of its objects.
    label : int
        Its class, from 0.
    box : tuple of float
        x, y, width, height in pixels, from the upper left corner of the image.
    is_ignored : bool
        Whether it is neither learned from nor measured: ``iscrowd`` in COCO's format.
    outline : tuple of float
        Polygon in pixels, x and y in turn; empty if only the box is known.
    """

    place: str
    label: int
    box: Box
    is_ignored: bool = False
    outline: tuple[float, ...] = ()

    @property
    def area(self) -> float:
        """Pixels inside of the outline, or of the box."""
        if not self.outline:
            return self.box[2] * self.box[3]
        xs, ys = self.outline[::2], self.outline[1::2]
        corners = range(len(xs))
        return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in corners)) / 2


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its objects.

    Attributes
    ----------
    file_name : str
        Path relative to the folder of all images.
    size : (int, int)
        Width and height as the image is loaded.
    objects : sequence of AnnotatedObject
        May be empty.
    """

    file_name: str
    size: tuple[int, int]
    objects: Sequence[AnnotatedObject]


def size_of_image(path: Path) -> tuple[int, int]:
    """Width and height of an image, turned as its EXIF orientation says, from its header.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UserError
        If it is missing or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= TURNED_BY_A_QUARTER
    except FileNotFoundError:
        raise UserError(f"{path}: the image does not exist, and its annotations do") from None
    except OSError:
        raise UserError(f"{path}: is not an image that can be read") from None
    return (height, width) if is_turned else (width, height)


def read_text(path: Path) -> str:
    """The text of a file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UserError
        If it is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text in UTF-8") from None


def refuse_repeated(names: Sequence[str], beginning: str) -> None:
    """Refuse a name that stands twice.

    Parameters
    ----------
    names : sequence of str
        At least one.
    beginning : str
        Of the sentence: the file, and what it names.

    Raises
    ------
    UserError
        If one does.
    """
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"{beginning} {name} {times} times; allowed: once")


def coco_content(images: Sequence[AnnotatedImage], classes: Sequence[str]) -> dict[str, Any]:
    """The content of a file in COCO's instances format; ids count from 1 in the order of images, objects and classes.

    Parameters
    ----------
    images : sequence of AnnotatedImage
        The images.
    classes : sequence of str
        Names of the classes by their labels.
    """
    numbered = list(enumerate(images, start=1))
    pairs = ((number, an_object) for number, image in numbered for an_object in image.objects)
    return {
        "images": [
            {"id": number, "file_name": image.file_name, "width": image.size[0], "height": image.size[1]}
            for number, image in numbered
        ],
        "annotations": [
            {"id": number, "image_id": image, **_annotation(an_object)}
            for number, (image, an_object) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, start=1)],
    }


def places(images: Sequence[AnnotatedImage]) -> list[str]:
    """Where each annotation of `coco_content` was read, in the order of their ids.

    Parameters
    ----------
    images : sequence of AnnotatedImage
        The images.
    """
    return [an_object.place for image in images for an_object in image.objects]


def _annotation(an_object: AnnotatedObject) -> dict[str, Any]:
    outline = {"segmentation": [list(an_object.outline)]} if an_object.outline else {}
    return {
        "category_id": an_object.label + 1,
        "bbox": list(an_object.box),
        "area": an_object.area,
        "iscrowd": int(an_object.is_ignored),
        **outline,
    }
