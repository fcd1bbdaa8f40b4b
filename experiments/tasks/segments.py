"""Segments of images in COCO's panoptic format: ids in colours, classes in a file beside them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Id of pixels that belong to no segment.
VOID = 0


@dataclass(frozen=True)
class Segment:
    """A segment of a panoptic map.

    Attributes
    ----------
    label : int
        Its class, from 0.
    is_crowd : bool
        Whether it stands for a crowd, which is neither found nor missed.
    """

    label: int
    is_crowd: bool = False


@dataclass(frozen=True)
class SegmentedImage:
    """What an annotation file says of an image.

    Attributes
    ----------
    map_name : str
        Name of the PNG with the ids of its segments.
    segments : dict
        Id to segment.
    """

    map_name: str
    segments: dict[int, Segment]


def rgb_to_id(colours: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Ids of segments (H, W) from the colours (H, W, 3), RGB, that stand for them."""
    identifiers: NDArray[np.int32] = (colours.astype(np.int32) * (1, 256, 65536)).sum(axis=2, dtype=np.int32)
    return identifiers


def id_to_rgb(identifiers: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Colours (H, W, 3), RGB, that stand for ids of segments (H, W)."""
    return np.stack([identifiers >> shift & 255 for shift in (0, 8, 16)], axis=2).astype(np.uint8)


def read_map(path: Path) -> NDArray[np.int32]:
    """The ids of segments (H, W) of a PNG.

    Parameters
    ----------
    path : Path
        The file.
    """
    with Image.open(path) as image:
        return rgb_to_id(np.asarray(image))


def read_segments(path: Path, classes: Sequence[str]) -> dict[int, SegmentedImage]:
    """The segments of all images of an annotation file.

    Parameters
    ----------
    path : Path
        The file, as the check of the dataset has passed it.
    classes : sequence of str
        Names of the classes by their labels.

    Returns
    -------
    dict
        Id of the image to what the file says of it.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    labels = {category["id"]: classes.index(category["name"]) for category in content["categories"]}
    return {
        entry["image_id"]: SegmentedImage(
            entry["file_name"],
            {
                segment["id"]: Segment(labels[segment["category_id"]], bool(segment.get("iscrowd", 0)))
                for segment in entry["segments_info"]
            },
        )
        for entry in content["annotations"]
    }
