"""The gate for masks: polygons and run-length encodings (RLE) that loaders can read, at the place of their boxes."""

from itertools import chain
from typing import Any, Literal

import numpy as np

from experiments.data.entries import Entry, are_numbers, is_number, short, shown, the
from experiments.data.findings import FEW, MOST, Findings

# Objects that are compared with their boxes.
SAMPLED = 20_000
POINTS = 3
# What masks the objects of a training need.
Masks = Literal["any", "polygons"] | None


def check_masks(annotations: list[Entry], images: dict[int, Entry], boxes: np.ndarray, findings: Findings) -> int:
    """Check the masks of the objects that have one.

    Parameters
    ----------
    annotations : list of dict
        The objects.
    images : dict
        Id to image.
    boxes : np.ndarray
        (N, 4), x, y, width, height.
    findings : Findings
        Receives faults and notices.

    Returns
    -------
    int
        Number of objects without a mask, crowds left out.
    """
    findings.refuse(
        [a for a in annotations if a.get("segmentation") and not isinstance(a["segmentation"], list | dict)],
        lambda a: f"{the('annotation', a)}: segmentation: {shown(a, 'segmentation')}; allowed: polygons or RLE",
    )
    _check_polygons([a for a in annotations if a.get("segmentation") and isinstance(a["segmentation"], list)], findings)
    encoded = [a for a in annotations if a.get("segmentation") and isinstance(a["segmentation"], dict)]
    faults = [(a, fault) for a in encoded if (fault := _run_length_fault(a["segmentation"], images[a["image_id"]]))]
    findings.refuse(faults, lambda wrong: f"{the('annotation', wrong[0])}: segmentation: {wrong[1]}")
    if findings.is_right:
        _check_places(annotations, boxes, findings)
    return sum(lacks_mask(a) for a in annotations)


def lacks_mask(annotation: Entry) -> bool:
    """Whether an object has no mask and needs one; crowds need none.

    Parameters
    ----------
    annotation : dict
        The object.
    """
    return not annotation.get("segmentation") and not annotation.get("iscrowd")


def is_encoded(annotation: Entry) -> bool:
    """Whether the mask of an object that is no crowd is run-length encoded.

    Parameters
    ----------
    annotation : dict
        The object.
    """
    return isinstance(annotation.get("segmentation"), dict) and not annotation.get("iscrowd")


def _check_polygons(outlined: list[Entry], findings: Findings) -> None:
    wrong = [a for a in outlined if not all(map(_is_polygon, a["segmentation"]))]
    findings.refuse(
        wrong,
        lambda a: (
            f"{the('annotation', a)}: segmentation: {_polygon_fault(a['segmentation'])}; allowed: polygons, each a list of x,"
            " y, x, y, … in pixels"
        ),
    )
    if wrong:
        return
    findings.refuse_above(
        FEW,
        len(outlined),
        [a for a in outlined if any(len(polygon) < 2 * POINTS for polygon in a["segmentation"])],
        lambda a: (
            f"{the('annotation', a)}: segmentation: has a polygon of fewer than {POINTS} points; allowed: at least {POINTS}"
        ),
        f"objects have a polygon of fewer than {POINTS} points, which mmdetection leaves out",
    )


def _is_polygon(value: Any) -> bool:
    return are_numbers(value) and len(value) % 2 == 0


def _polygon_fault(polygons: list[Any]) -> str:
    if any(is_number(value) for value in polygons):
        return "is one list of numbers"
    wrong = next(polygon for polygon in polygons if not _is_polygon(polygon))
    return f"has a polygon of {len(wrong)} numbers" if are_numbers(wrong) else f"has the polygon {short(wrong)}"


def _run_length_fault(mask: Entry, image: Entry) -> str | None:
    size, counts = [image["height"], image["width"]], mask.get("counts")
    if mask.get("size") != size:
        return f"size: {shown(mask, 'size')}; allowed: height and width of the image, {size}"
    is_list = isinstance(counts, list) and all(type(length) is int for length in counts)
    if not is_list and not isinstance(counts, str):
        return f"counts: {shown(mask, 'counts')}; allowed: a list of whole numbers, or text"
    lengths = decode_run_lengths(counts) if isinstance(counts, str) else counts
    if lengths is None:
        return f"counts: {shown(mask, 'counts')} is no compressed RLE"
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        return f"counts: covers {sum(lengths)} pixels; allowed: lengths of at least 0 that cover {size[0]} × {size[1]} pixels"
    return None


def decode_run_lengths(text: str) -> list[int] | None:
    """The run lengths of a compressed RLE; None if the text is none.

    A number is written in groups of five bits, lowest first; a sixth bit tells that another group follows. From the fourth
    number on, what is written is the difference to the number two before (`rleFrString` of pycocotools).

    Parameters
    ----------
    text : str
        The key ``counts`` of a compressed mask.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            return None
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths if shift == 0 else None


def _check_places(annotations: list[Entry], boxes: np.ndarray, findings: Findings) -> None:
    """Compare an even sample of boxes with the polygons of the same objects."""
    every = max(1, len(annotations) // SAMPLED)
    sample = [
        index
        for index in range(0, len(annotations), every)
        if isinstance(annotations[index].get("segmentation"), list) and annotations[index]["segmentation"]
    ]
    if not sample:
        return
    outlines = np.array([_extent(annotations[index]["segmentation"]) for index in sample])
    starts, ends = boxes[sample, :2], boxes[sample, :2] + boxes[sample, 2:]
    both = (np.minimum(ends, outlines[:, 2:]) - np.maximum(starts, outlines[:, :2])).clip(0).prod(axis=1)
    either = (ends - starts).prod(axis=1) + (outlines[:, 2:] - outlines[:, :2]).prod(axis=1) - both
    apart = [index for index, is_apart in zip(sample, both < MOST * either, strict=True) if is_apart]
    findings.refuse_above(
        MOST,
        len(sample),
        apart,
        lambda index: _apart(annotations[index]),
        f"of {len(sample):,} boxes share less than half of their pixels with their mask's extent",
    )


def _apart(annotation: Entry) -> str:
    corners = [round(value, 1) for value in _extent(annotation["segmentation"])]
    place = f"{the('annotation', annotation)}: bbox: {shown(annotation, 'bbox')}"
    return f"{place}, but the corners of its mask are {corners}; allowed: x, y, width, height of the mask"


def _extent(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    """Corners x1, y1, x2, y2 of the smallest box around polygons."""
    columns = list(chain.from_iterable(polygon[0::2] for polygon in polygons))
    rows = list(chain.from_iterable(polygon[1::2] for polygon in polygons))
    return min(columns), min(rows), max(columns), max(rows)
