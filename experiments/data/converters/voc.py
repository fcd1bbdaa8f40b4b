"""PASCAL VOC's format: an XML file for each image, and lists of the images of a split."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from xml.etree import ElementTree

from experiments.data.converters.coco_content import (
    AnnotatedImage,
    AnnotatedObject,
    Box,
    read_text,
    refuse_repeated,
    size_of_image,
)
from experiments.errors import UserError, each_result
from experiments.spec.dataset_files import IMAGE_ENDINGS
from experiments.spec.known_classes import VOC_CLASSES

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    folders: Sequence[Path], split: str, classes: Sequence[str] = VOC_CLASSES, learn_difficult: bool = False
) -> list[AnnotatedImage]:
    """The images of a split, in the order of its lists.

    Parameters
    ----------
    folders : sequence of Path
        ``VOC2007`` and the like, side by side, each with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``. Images are
        named relative to the folder that these lie in.
    split : str
        Name of a list in ``ImageSets/Main``, without ``.txt``.
    classes : sequence of str
        Names of the classes by their labels.
    learn_difficult : bool
        Whether difficult objects are objects like others. VOC's own measure ignores them.

    Raises
    ------
    UserError
        If a file is missing or not of this format. Every such file is told.
    """
    if len({folder.resolve().parent for folder in folders}) > 1:
        raise UserError(f"{', '.join(map(str, folders))}: lie in several folders; allowed: folders side by side")
    named = [(folder, name) for folder in folders for name in _names(folder, split)]
    return each_result(lambda image: _read_image(*image, classes, learn_difficult), named)


def _names(folder: Path, split: str) -> list[str]:
    lists = folder / "ImageSets/Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        found = sorted(other.stem for other in lists.glob("*.txt") if "_" not in other.stem)
        raise UserError(f"{path}: does not exist; allowed: {', '.join(found) or f'a folder with {lists}/*.txt'}")
    # A list of a class has a second column.
    names = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{path}: names no image")
    refuse_repeated(names, f"{path}: names image")
    return names


def _read_image(folder: Path, name: str, classes: Sequence[str], learn_difficult: bool) -> AnnotatedImage:
    path = folder / f"Annotations/{name}.xml"
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist, and a list names the image") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two of its encoding
        raise UserError(f"{path}: is not XML that can be read: {error}") from None
    places = (f"{path}: object {number}" for number in count(1))
    objects = [_read_object(*pair, classes) for pair in zip(root.findall("object"), places, strict=False)]
    if learn_difficult:
        objects = [replace(an_object, is_ignored=False) for an_object in objects]
    pictures = [folder / f"JPEGImages/{name}{ending}" for ending in (*IMAGE_ENDINGS, *map(str.upper, IMAGE_ENDINGS))]
    picture = next((file for file in pictures if file.is_file()), pictures[0])
    return AnnotatedImage(picture.relative_to(folder.parent).as_posix(), size_of_image(picture), objects)


def _read_object(element: ElementTree.Element, place: str, classes: Sequence[str]) -> AnnotatedObject:
    name = (element.findtext("name") or "").strip()
    if name not in classes:
        raise UserError(f"{place}: name is {name!r}; allowed: {', '.join(classes)}")
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise UserError(f"{place}: difficult is {difficult!r}; allowed: 0, 1")
    return AnnotatedObject(place, list(classes).index(name), _read_box(element.find("bndbox"), place), difficult == "1")


def _read_box(element: ElementTree.Element | None, place: str) -> Box:
    """Corners count from 1 and lie in the object, so that its width is that of the pixels between them and of both.

    Some writers count from 0; what would leave the image there is clipped.
    """
    texts = [element.findtext(corner) if element is not None else None for corner in CORNERS]
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        corners = dict(zip(CORNERS, texts, strict=True))
        raise UserError(f"{place}: bndbox is {corners}; allowed: four numbers") from None
    if not (0 <= left < right < inf and 0 <= top < bottom < inf):
        found = f"from {left:g}, {top:g} to {right:g}, {bottom:g}"
        raise UserError(f"{place}: bndbox is {found}; allowed: pixels from 1 on, xmin below xmax, ymin below ymax")
    x, y = max(left - 1, 0), max(top - 1, 0)
    return x, y, right - x, bottom - y
