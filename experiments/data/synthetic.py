"""A synthetic instance-segmentation set in COCO format: drawn shapes over clutter, deterministic in its settings."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from experiments.data.coco import identify
from experiments.data.folders import remove_folder
from experiments.data.masks import Masks
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import BESIDE_SHAPES, ExpectedSplit, SyntheticDataset
from experiments.tasks.segments import id_to_rgb

SUBPIXEL_BITS = 4
MIN_VISIBLE = 0.3
MIN_PIXELS = 6
HUE_SPREAD = 0.08
# How far a single shape may lie from the middle, as a share of the side.
MIDDLE_SPREAD = 0.12
IGNORED = 255


def _regular(corners: int, inner: float = 1.0, phase: float = 0.0) -> np.ndarray:
    """Corners on the unit circle, every second one at radius `inner`, (corners, 2)."""
    angles = np.arange(corners) * 2 * np.pi / corners + phase
    radii = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _cross() -> np.ndarray:
    arm = 0.33
    quarter = np.array([[1, -arm], [1, arm], [arm, arm]])
    turn = np.array([[0, -1], [1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, -i % 4) for i in range(4)])


def _crescent() -> np.ndarray:
    outer = np.linspace(0.35 * np.pi, 1.65 * np.pi, 24)
    inner = outer[::-1]
    return np.concatenate(
        [np.stack([np.cos(outer), np.sin(outer)], 1), np.stack([0.35 + 0.75 * np.cos(inner), 0.75 * np.sin(inner)], 1)]
    )


SHAPES: dict[str, Callable[[], np.ndarray]] = {
    "disc": lambda: _regular(32),
    "square": lambda: _regular(4),
    "triangle": lambda: _regular(3),
    "star": lambda: _regular(10, inner=0.42),
    "cross": _cross,
    "crescent": _crescent,
}


def prepare(
    dataset: SyntheticDataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Draw a dataset and identify it. See `experiments.data.prepare.prepare_dataset`."""
    remove_folder(folder)
    write_synthetic_dataset(folder, dataset)
    write_single_shapes(folder, dataset)
    return identify(dataset, folder, expected, masks)


def write_synthetic_dataset(folder: Path, settings: SyntheticDataset) -> None:
    """Draw the training and the validation images and write them with their annotations.

    Parameters
    ----------
    folder : Path
        Receives ``annotations/{train,val}.json``, the PNG images in ``train/`` and ``val/``, and in ``stuffthingmaps/`` a PNG
        for each image with a label for each pixel: the classes from 0, then background, then clutter, or 255, ignored; the
        same as segments in ``annotations/panoptic_{train,val}.json`` and ``panoptic/``.
    settings : SyntheticDataset
        Image size in pixels, numbers of images, objects per image, seed. Equal settings give equal bytes.
    """
    for stream, (split, number) in enumerate((("train", settings.train_count), ("val", settings.val_count))):
        maps, panoptic = folder / "stuffthingmaps" / split, folder / "panoptic" / split
        for place in (folder / split, maps, panoptic):
            place.mkdir(parents=True, exist_ok=True)
        images: list[dict] = []
        annotations: list[dict] = []
        segments: list[dict] = []
        for index in range(number):
            generator = np.random.default_rng([settings.seed, stream, index])
            picture, objects, labels = _draw_scene(generator, settings)
            name = f"{index:06d}.png"
            _write_image(folder / split / name, picture)
            _write_image(maps / name, labels)
            images.append({"id": index, "file_name": name, "width": settings.image_size, "height": settings.image_size})
            for category, mask in objects:
                annotations.append(_annotation(len(annotations) + 1, index, category, mask))
            identifiers, of_image = _segments(objects, labels, len(settings.classes))
            _write_image(panoptic / name, id_to_rgb(identifiers)[..., ::-1])
            segments.append({"image_id": index, "file_name": name, "segments_info": of_image})
        _write_annotations(folder / "annotations" / f"{split}.json", images, annotations, _categories(settings.classes))
        categories = [*_categories(settings.classes, isthing=1), *_categories(BESIDE_SHAPES, len(settings.classes), isthing=0)]
        _write_annotations(folder / "annotations" / f"panoptic_{split}.json", images, segments, categories)


def write_single_shapes(folder: Path, settings: SyntheticDataset) -> None:
    """Draw as many images of half the size with one shape each, near their middle.

    Parameters
    ----------
    folder : Path
        Receives PNG images in ``one_shape/{train,val}/<class>/``.
    settings : SyntheticDataset
        As for `write_synthetic_dataset`.
    """
    size = settings.image_size // 2
    # Streams behind those of the scenes.
    for stream, (split, number) in enumerate((("train", settings.train_count), ("val", settings.val_count)), start=2):
        for name in settings.classes:
            (folder / "one_shape" / split / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            generator = np.random.default_rng([settings.seed, stream, index])
            picture = _background(generator, size)
            _draw_clutter(generator, picture)
            radius = size * generator.uniform(0.15, 0.4)
            category, _ = _draw_object(generator, picture, settings.classes, radius, MIDDLE_SPREAD)
            place = folder / "one_shape" / split / settings.classes[category - 1] / f"{index:06d}.png"
            _write_image(place, picture.clip(0, 255).astype(np.uint8))


def _write_annotations(path: Path, images: list[dict], annotations: list[dict], categories: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _categories(names: Sequence[str], before: int = 0, **others: int) -> list[dict]:
    return [
        {"id": number, "name": name, "supercategory": "shape", **others} for number, name in enumerate(names, start=before + 1)
    ]


def _segments(objects: list[tuple[int, np.ndarray]], labels: np.ndarray, things: int) -> tuple[np.ndarray, list[dict]]:
    """Ids of segments (H, W), 0 where there is none, and the segments: the objects, then background and clutter."""
    masks = [(category, mask.astype(bool)) for category, mask in objects]
    masks += [(things + 1 + number, labels == things + number) for number in range(len(BESIDE_SHAPES))]
    identifiers = np.zeros(labels.shape, np.int32)
    segments = []
    for identifier, (category, mask) in enumerate(masks, start=1):
        if mask.any():
            identifiers[mask] = identifier
            box = mask_utils.toBbox(mask_utils.encode(np.asfortranarray(mask, np.uint8))).tolist()
            sizes = {"bbox": box, "area": int(mask.sum())}
            segments.append({"id": identifier, "category_id": category, **sizes, "iscrowd": 0})
    return identifiers, segments


def _write_image(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG. Unlike `cv2.imwrite`, which returns False, a full disk raises."""
    _, encoded = cv2.imencode(".png", pixels)
    path.write_bytes(encoded.tobytes())


def _annotation(identifier: int, image: int, category: int, mask: np.ndarray) -> dict:
    encoded = mask_utils.encode(np.asfortranarray(mask))
    return {
        "id": identifier,
        "image_id": image,
        "category_id": category,
        "bbox": [float(value) for value in mask_utils.toBbox(encoded)],
        "area": float(mask_utils.area(encoded)),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": encoded["counts"].decode()},
    }


def _draw_scene(
    generator: np.random.Generator, settings: SyntheticDataset
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]], np.ndarray]:
    """Return the picture (H, W, 3) in BGR, (category, visible mask (H, W)) of each object, back to front, and labels (H, W)."""
    size = settings.image_size
    picture = _background(generator, size)
    background = picture.copy()
    _draw_clutter(generator, picture)
    labels = len(settings.classes) + (picture != background).any(axis=2).astype(np.uint8)
    drawn: list[tuple[int, np.ndarray, int]] = []
    for _ in range(generator.integers(settings.min_objects, settings.max_objects + 1)):
        category, mask = _draw_object(generator, picture, settings.classes)
        drawn = [(other, visible & ~mask, whole) for other, visible, whole in drawn]
        drawn.append((category, mask, int(mask.sum())))
    objects = []
    for category, visible, whole in drawn:
        annotated = visible.sum() >= max(MIN_PIXELS, MIN_VISIBLE * whole)
        # The visible rest of a shape that is too hidden to be annotated is ignored.
        labels[visible] = category - 1 if annotated else IGNORED
        if annotated:
            objects.append((category, visible.astype(np.uint8)))
    return picture.clip(0, 255).astype(np.uint8), objects, labels


def _background(generator: np.random.Generator, size: int) -> np.ndarray:
    coarse = generator.uniform(60, 190, (4, 4, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return smooth + generator.normal(0, 8, (size, size, 3)).astype(np.float32)


def _draw_clutter(generator: np.random.Generator, picture: np.ndarray) -> None:
    """Lines and thin arcs that belong to no class."""
    size = len(picture)
    for _ in range(generator.integers(2, 7)):
        colour = generator.uniform(0, 255, 3).tolist()
        start, end = generator.integers(0, size, (2, 2)).tolist()
        if generator.random() < 0.5:
            cv2.line(picture, start, end, colour, 1, cv2.LINE_AA)
        else:
            axes = generator.integers(3, max(4, size // 4), 2).tolist()
            cv2.ellipse(picture, start, axes, generator.uniform(0, 180), 0, generator.uniform(40, 200), colour, 1, cv2.LINE_AA)


def _draw_object(
    generator: np.random.Generator,
    picture: np.ndarray,
    classes: Sequence[str],
    radius: float | None = None,
    spread: float | None = None,
) -> tuple[int, np.ndarray]:
    """Draw one textured shape; return its category (from 1) and its whole mask (H, W).

    Without a radius one is drawn too. With a spread, a share of the side, the shape lies so far from the middle at most.
    """
    size = len(picture)
    category = int(generator.integers(len(classes)))
    if radius is None:
        # Log-uniform between COCO-small (5 % of the side) and half of the image.
        radius = size * np.exp(generator.uniform(np.log(0.03), np.log(0.28)))
    angle = generator.uniform(0, 2 * np.pi)
    stretch = generator.uniform(0.75, 1.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nearest, farthest = (
        (0.6 * radius, size - 0.6 * radius) if spread is None else ((0.5 - spread) * size, (0.5 + spread) * size)
    )
    centre = generator.uniform(nearest, farthest, 2)
    corners = (SHAPES[classes[category]]() * radius * [1.0, stretch]) @ rotation.T + centre
    fixed = np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [fixed], 1, lineType=cv2.LINE_8, shift=SUBPIXEL_BITS)
    inside = mask.astype(bool)
    picture[inside] = _texture(generator, size, hue=(category + 0.5) / len(classes))[inside]
    return category + 1, inside


def _texture(generator: np.random.Generator, size: int, hue: float) -> np.ndarray:
    """Plain or striped colour, (H, W, 3) in BGR, scattered around a hue from 0 to 1: a hint at the class."""
    hues = (hue + generator.normal(0, HUE_SPREAD, 2)) % 1
    saturations, values = generator.uniform(0.35, 1.0, (2, 2))
    pixels = np.stack([360 * hues, saturations, values], axis=1).astype(np.float32)[None]
    base, other = 255 * cv2.cvtColor(pixels, cv2.COLOR_HSV2BGR)[0]
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    direction = generator.uniform(0, np.pi)
    wave = np.sin((rows * np.sin(direction) + columns * np.cos(direction)) * generator.uniform(0.5, 1.2))
    weight = generator.choice([0.0, 0.5, 1.0]) * (wave[..., None] > 0)
    return base * (1 - weight) + other * weight + generator.normal(0, 6, (size, size, 3))
