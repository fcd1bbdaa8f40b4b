"""The gate for boxes and areas: in pixels, inside of their image, and in no other format."""

import numpy as np

from experiments.data.entries import Entry, chosen, shown, the
from experiments.data.findings import FEW, MOST, Findings

# Pixels by which a box may leave its image: rounding.
TOLERANCE = 1.0
# Sides, in pixels, below which mmdetection leaves an object out of the training.
SMALLEST_SIDE = 1
# No object covers less of its box; normalised areas do.
LEAST_COVER = 1 / 1000


def check_boxes(annotations: list[Entry], boxes: np.ndarray, sizes: np.ndarray, findings: Findings) -> None:
    """Check that boxes have a size and reach their image; recognise normalised boxes and corners.

    Parameters
    ----------
    annotations : list of dict
        The objects.
    boxes : np.ndarray
        (N, 4), x, y, width, height.
    sizes : np.ndarray
        (N, 2), width and height of each object's image.
    findings : Findings
        Receives faults and notices.
    """
    ends = boxes[:, :2] + boxes[:, 2:]
    leave = (boxes[:, :2] < -TOLERANCE).any(axis=1) | (ends > sizes + TOLERANCE).any(axis=1)
    if _are_normalised(boxes, ends, sizes):
        findings.refuse(annotations, lambda a: _box(a, ", a share of the image; allowed: pixels"))
    elif leave.any() and _are_corners(boxes, sizes):
        findings.refuse(chosen(annotations, leave), lambda a: _box(a, ", two corners; allowed: x, y, width, height"))
    else:
        _check_sides(annotations, boxes, findings)
        _check_places(annotations, boxes, sizes, leave, findings)


def _are_normalised(boxes: np.ndarray, ends: np.ndarray, sizes: np.ndarray) -> bool:
    return bool((boxes >= 0).all() and ends.max() <= 1 + 1e-6 and sizes.min() > 1)


def _are_corners(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    return bool((boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= sizes + TOLERANCE).all())


def _check_sides(annotations: list[Entry], boxes: np.ndarray, findings: Findings) -> None:
    sides = boxes[:, 2:]
    findings.refuse(
        chosen(annotations, np.any(sides < 0, axis=1)), lambda a: _box(a, "; allowed: a width and a height of at least 0")
    )
    findings.refuse_above(
        FEW,
        len(annotations),
        chosen(annotations, (sides == 0).any(axis=1)),
        lambda a: _box(a, "; allowed: a width and a height above 0"),
        "boxes have no width or no height; mmdetection leaves them out of the training",
    )
    tiny = ((sides < SMALLEST_SIDE) & (sides > 0)).any(axis=1)
    findings.notice(int(tiny.sum()), "boxes are narrower than a pixel; mmdetection leaves them out of the training")


def _check_places(
    annotations: list[Entry], boxes: np.ndarray, sizes: np.ndarray, leave: np.ndarray, findings: Findings
) -> None:
    seen = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes) - np.maximum(boxes[:, :2], 0)
    are_outside = (seen <= 0).any(axis=1) & (boxes[:, 2:] > 0).all(axis=1)

    def sentence(index: int) -> str:
        width, height = sizes[index]
        return _box(annotations[index], f" lies outside of its image; allowed: inside of {width:.0f} × {height:.0f} pixels")

    findings.refuse(np.flatnonzero(are_outside).tolist(), sentence)
    findings.notice(int((leave & ~are_outside).sum()), "boxes leave their image by more than a pixel; they are clipped")


def _box(annotation: Entry, what: str) -> str:
    return f"{the('annotation', annotation)}: bbox: {shown(annotation, 'bbox')}{what}"


def check_areas(annotations: list[Entry], areas: np.ndarray, boxes: np.ndarray, sizes: np.ndarray, findings: Findings) -> None:
    """Check that areas are in pixels: metrics tell small objects from large ones by them.

    Parameters
    ----------
    annotations : list of dict
        The objects.
    areas : np.ndarray
        (N,).
    boxes : np.ndarray
        (N, 4), x, y, width, height.
    sizes : np.ndarray
        (N, 2), width and height of each object's image.
    findings : Findings
        Receives faults and notices.
    """
    count = len(annotations)
    findings.refuse_above(
        FEW,
        count,
        chosen(annotations, (areas == 0) & (boxes[:, 2:] > 0).all(axis=1)),
        lambda a: f"{the('annotation', a)}: area: is 0; allowed: above 0, or mmdetection leaves the object out",
        "areas are 0; mmdetection leaves these objects out of the training",
    )
    whole = boxes[:, 2] * boxes[:, 3]

    def sentence(a: Entry) -> str:
        return (
            f"{the('annotation', a)}: area: {shown(a, 'area')}, but bbox {shown(a, 'bbox')}; allowed: pixels, at most its box"
        )

    # Metrics leave out what is larger than any image.
    are_larger = areas > sizes.prod(axis=1)
    findings.refuse(chosen(annotations, are_larger), sentence)
    # A mask fits into its box, but for the pixels at its border.
    border = 2 * boxes[:, 2:].sum(axis=1) + 4
    leave = chosen(annotations, (areas > whole + border) & ~are_larger)
    findings.refuse_above(FEW, count, leave, sentence, "areas are larger than their boxes")
    small = chosen(annotations, (areas < LEAST_COVER * whole) & (areas > 0))
    findings.refuse_above(MOST, count, small, sentence, f"areas are less than {LEAST_COVER:g} of their boxes")
