"""Write annotations in the format of PASCAL VOC, VisDrone or YOLO in COCO's format. Images stay where they are."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError
from experiments.files import write_atomically
from experiments.spec.known_classes import VISDRONE_CLASSES, VOC_CLASSES
from experiments.workflow.grid import Grid

if TYPE_CHECKING:
    from experiments.data.converters.coco_content import AnnotatedImage

# Images, names of classes, and the folder that the images' names are relative to.
Converted = tuple[Sequence["AnnotatedImage"], Sequence[str], Path]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the formats of ``convert``, and their options."""
    formats = parser.add_subparsers(dest="format", required=True)
    voc = formats.add_parser("voc", help="PASCAL VOC: Annotations, ImageSets/Main, JPEGImages")
    voc.add_argument("folders", nargs="+", type=Path, help="VOC2007 and the like, side by side")
    voc.add_argument("--split", required=True, help="a list in ImageSets/Main, such as trainval")
    voc.add_argument("--classes", type=Path, help="a file with a name in each line; VOC's 20 by default")
    voc.add_argument(
        "--learn-difficult", action="store_true", help="difficult objects are objects like others; by default ignored"
    )
    visdrone = formats.add_parser("visdrone", help="VisDrone-DET: annotations, images")
    visdrone.add_argument("folder", type=Path, help="VisDrone2019-DET-train and the like")
    visdrone.add_argument("--drop-ignored", action="store_true", help="leave ignored regions out, as some recipes train")
    yolo = formats.add_parser("yolo", help="YOLO: a text file for each image")
    yolo.add_argument("images", type=Path, help="folder of the images")
    yolo.add_argument("labels", type=Path, help="folder of the text files, like that of the images")
    yolo.add_argument("--classes", type=Path, required=True, help="data.yaml, or a file with a name in each line")
    for one in (voc, visdrone, yolo):
        one.add_argument("--output", type=Path, required=True, help="the file to write, which must not exist")


def main(grid: Grid, arguments: Namespace) -> None:
    """Write annotations of another format (VOC, VisDrone, YOLO) in COCO's.

    Parameters
    ----------
    grid : Grid
        The configuration; it says nothing of what is converted.
    arguments : Namespace
        From `add_arguments`.

    Raises
    ------
    UserError
        If a file is missing or not of the format, what it says is wrong, or the output exists.
    """
    output: Path = arguments.output
    if output.exists():
        raise UserError(f"{output}: exists; remove it, or give --output another name")
    # Pillow takes a moment, which the other verbs need not wait.
    from experiments.data.converters.coco_content import coco_content

    images, classes, folder = READERS[arguments.format](arguments)
    content = coco_content(images, classes)
    _check(content, classes, images, output)
    write_atomically(output, content)
    ignored = [an_object.is_ignored for image in images for an_object in image.objects]
    print(
        f"{output}: {len(images):,} images with {len(ignored) - sum(ignored):,} objects of {len(classes)} classes, and"
        f" {sum(ignored):,} that are ignored; images lie in {folder}"
    )


def _check(content: dict[str, Any], classes: Sequence[str], images: Sequence["AnnotatedImage"], output: Path) -> None:
    """Refuse what no training would accept, in the places that it was read from, and say what was noticed."""
    from experiments.data.annotations import check_annotations
    from experiments.data.converters.coco_content import places
    from experiments.data.findings import DatasetError, Findings

    findings = Findings(output)
    check_annotations(content, classes, findings)
    if findings.is_right:
        for notice in findings.lines():
            print(notice)
        return
    first, *others = DatasetError([findings]).read_from({output: places(images)}).lines
    for other in others:
        print(other)
    raise UserError(first)


def _read_voc(arguments: Namespace) -> Converted:
    from experiments.data.converters.class_names import read_classes
    from experiments.data.converters.voc import read_voc

    classes = read_classes(arguments.classes) if arguments.classes else VOC_CLASSES
    images = read_voc(arguments.folders, arguments.split, classes, arguments.learn_difficult)
    return images, classes, arguments.folders[0].resolve().parent


def _read_visdrone(arguments: Namespace) -> Converted:
    from experiments.data.converters.visdrone import read_visdrone

    split = read_visdrone(arguments.folder, arguments.drop_ignored)
    if split.without_area:
        print(f"{split.without_area:,} objects without width or height are left out")
    return split.images, VISDRONE_CLASSES, arguments.folder / "images"


def _read_yolo(arguments: Namespace) -> Converted:
    from experiments.data.converters.class_names import read_classes
    from experiments.data.converters.yolo import read_yolo

    classes = read_classes(arguments.classes)
    return read_yolo(arguments.images, arguments.labels, classes), classes, arguments.images


READERS: dict[str, Callable[[Namespace], Converted]] = {"voc": _read_voc, "visdrone": _read_visdrone, "yolo": _read_yolo}
