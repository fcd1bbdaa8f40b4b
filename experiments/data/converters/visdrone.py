"""VisDrone's format: a text file for each image, a line for each object."""

from dataclasses import dataclass, replace
from pathlib import Path

from experiments.data.converters.coco_content import AnnotatedImage, AnnotatedObject, read_text, size_of_image
from experiments.errors import UserError, each_result
from experiments.spec.known_classes import VISDRONE_CLASSES

FIELDS = ("x", "y", "width", "height", "score", "category", "truncation", "occlusion")
IGNORED_REGION, OTHERS = 0, 11


@dataclass(frozen=True)
class VisDroneSplit:
    """What the files of a split say.

    Attributes
    ----------
    images : list of AnnotatedImage
        In the order of their names.
    without_area : int
        Objects without width or height, which are left out; the original files have some.
    """

    images: list[AnnotatedImage]
    without_area: int


def read_visdrone(folder: Path, drop_ignored: bool = False) -> VisDroneSplit:
    """The images of a split, in the order of their names.

    Ignored regions and objects of other kinds are ignored in every class: what is found there is no mistake. Objects of score 0
    are in their own.

    Parameters
    ----------
    folder : Path
        ``VisDrone2019-DET-train`` and the like, with ``annotations`` and ``images``. Images are named relative to ``images``.
    drop_ignored : bool
        Whether what is ignored is left out, as some recipes train.

    Raises
    ------
    UserError
        If a file is missing or not of this format. Every such file is told.
    """
    files = sorted((folder / "annotations").glob("*.txt"))
    if not files:
        raise UserError(f"{folder / 'annotations'}: holds no .txt files; allowed: a folder with annotations/ and images/")

    def read(path: Path) -> AnnotatedImage:
        objects = [an_object for line in _lines(path) for an_object in _read_line(*line)]
        return AnnotatedImage(f"{path.stem}.jpg", size_of_image(folder / f"images/{path.stem}.jpg"), objects)

    images = each_result(read, files)
    without_area = sum(not an_object.area for image in images for an_object in image.objects)
    return VisDroneSplit([_without(image, drop_ignored) for image in images], without_area)


def _without(image: AnnotatedImage, ignored: bool) -> AnnotatedImage:
    """The image without objects that have no area, and perhaps without those that are ignored."""
    kept = [an_object for an_object in image.objects if an_object.area and not (ignored and an_object.is_ignored)]
    return replace(image, objects=kept)


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Place and fields of each line that is not empty; some files end their lines with a comma."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [(f"{path}: line {number}", line.strip().removesuffix(",").split(",")) for number, line in lines if line.strip()]


def _read_line(place: str, fields: list[str]) -> list[AnnotatedObject]:
    if len(fields) != len(FIELDS):
        raise UserError(f"{place}: has {len(fields)} fields; allowed: {', '.join(FIELDS)}")
    try:
        x, y, width, height, score, category, *_ = map(int, fields)
    except ValueError:
        raise UserError(f"{place}: is {','.join(fields)}; allowed: whole numbers") from None
    if not IGNORED_REGION <= category <= OTHERS:
        raise UserError(f"{place}: category is {category}; allowed: {IGNORED_REGION} to {OTHERS}")
    if width < 0 or height < 0:
        raise UserError(f"{place}: width and height are {width} and {height}; allowed: at least 0")
    box = (float(x), float(y), float(width), float(height))
    if category in (IGNORED_REGION, OTHERS):
        return [AnnotatedObject(place, label, box, is_ignored=True) for label in range(len(VISDRONE_CLASSES))]
    return [AnnotatedObject(place, category - 1, box, is_ignored=score == 0)]
