"""Annotation files that are right, small enough to read, and what makes them wrong."""

import copy
from typing import Any

NAMES = ["box", "can", "bottle"]
# x, y, width, height of the objects of each image, in images of 80 × 64 pixels.
BOXES = [[[4, 6, 20, 30], [40, 10, 24.5, 16]], [[0, 0, 80, 64], [30, 30, 18, 12]], [[60, 40, 20, 24], [10, 2, 31, 47]]]
WIDTH, HEIGHT = 80, 64


def rectangle(box: list[float]) -> list[list[float]]:
    """A polygon around a box."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def right_file() -> dict[str, Any]:
    """Three images with two objects each, polygons around all of them."""
    images = [{"id": n, "file_name": f"{n:03d}.png", "width": WIDTH, "height": HEIGHT} for n in range(1, len(BOXES) + 1)]
    annotations = []
    for image, boxes in zip(images, BOXES, strict=True):
        for box in boxes:
            number = len(annotations) + 1
            annotations.append(
                {
                    "id": number,
                    "image_id": image["id"],
                    "category_id": (number - 1) % len(NAMES) + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": rectangle(box),
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
    return copy.deepcopy({"images": images, "annotations": annotations, "categories": categories})
