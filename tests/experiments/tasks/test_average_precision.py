"""Average precision: on made-up detections whose value is known, and equal to what pycocotools computes."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.metrics import FasterCocoMetric
from pycocotools import mask as mask_utils

from experiments.benchmarks.evaluation import load_with_pycocotools, summarize_with_pycocotools
from experiments.tasks.average_precision import average_precision, load, summarize

BOXES = {1: [2, 2, 6, 6], 2: [10, 10, 20, 20], 3: [0, 0, 60, 60]}


@pytest.fixture
def truth(tmp_path):
    annotations = [
        {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": rle(box),
        }
        for number, box in BOXES.items()
    ]
    images = [{"id": number, "height": 64, "width": 64, "file_name": "x"} for number in BOXES]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    return path


def rle(box):
    mask = np.zeros((64, 64), np.uint8, order="F")
    left, top, width, height = box
    mask[top : top + height, left : left + width] = 1
    encoded = mask_utils.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def detections(tmp_path, boxes):
    path = tmp_path / "detections.json"
    content = [
        {"image_id": n, "category_id": 1, "bbox": box, "score": 0.9, "segmentation": rle(box)} for n, box in boxes.items()
    ]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_perfect_detections_have_100_percent(truth, tmp_path, kind):
    metrics = average_precision(truth, detections(tmp_path, BOXES), kind, (8, 32))
    assert metrics == pytest.approx({f"{kind}_{name}": 100.0 for name in ("AP", "AP50", "AP75", "APS", "APM", "APL")})


def test_no_detections_have_0_percent(truth, tmp_path):
    assert average_precision(truth, detections(tmp_path, {}), "box", (8, 32))["box_AP"] == 0


def test_object_sizes_split_the_objects(truth, tmp_path):
    found = {n: box for n, box in BOXES.items() if n != 1}
    metrics = average_precision(truth, detections(tmp_path, found), "box", (8, 32))
    assert (metrics["box_APS"], metrics["box_APM"], metrics["box_APL"]) == pytest.approx((0, 100, 100))


def test_a_size_without_objects_has_no_value(truth, tmp_path):
    assert average_precision(truth, detections(tmp_path, BOXES), "box", (1, 2))["box_APS"] is None


def test_two_of_three_found_is_67_of_101_recall_points(truth, tmp_path):
    found = {n: box for n, box in BOXES.items() if n != 3}
    assert average_precision(truth, detections(tmp_path, found), "box")["box_AP"] == pytest.approx(100 * 67 / 101)


def test_a_mask_is_as_large_as_its_pixels_whatever_its_box(truth, tmp_path):
    # Found in addition: a mask of 16 pixels, small, in a box of 1,600, large.
    found = json.loads(detections(tmp_path, BOXES).read_text())
    wrong = {"image_id": 3, "category_id": 1, "bbox": [0, 0, 40, 40], "score": 0.95, "segmentation": rle([50, 50, 4, 4])}
    (tmp_path / "found.json").write_text(json.dumps([*found, wrong]))
    metrics = average_precision(truth, tmp_path / "found.json", "mask", (8, 32))
    assert metrics["mask_APL"] == pytest.approx(100)
    assert metrics["mask_APS"] < 100


def test_a_validation_during_training_computes_the_same(truth, tmp_path):
    found = {1: [2, 2, 6, 6], 2: [11, 11, 18, 18], 3: [0, 0, 40, 60]}
    metric = FasterCocoMetric(str(truth), metric=["bbox", "segm"])
    metric.dataset_meta = {"classes": ["a"]}
    samples = []
    for number, (left, top, width, height) in found.items():
        masks = torch.zeros(1, 64, 64, dtype=torch.bool)
        masks[0, top : top + height, left : left + width] = True
        boxes = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
        predicted = {"bboxes": boxes, "scores": torch.tensor([0.9]), "labels": torch.tensor([0]), "masks": masks}
        samples.append({"img_id": number, "ori_shape": (64, 64), "pred_instances": predicted})
    metric.process({}, samples)
    validated = metric.evaluate(len(samples))
    for kind, name in (("box", "bbox"), ("mask", "segm")):
        expected = average_precision(truth, detections(tmp_path, found), kind)
        assert 0 < expected[f"{kind}_AP"] < 100
        # mmdetection rounds to three digits.
        assert 100 * validated[f"coco/{name}_mAP"] == pytest.approx(expected[f"{kind}_AP"], abs=0.051)


def assert_equal_to_pycocotools(annotations: dict, found: list[dict], object_sizes: tuple[float, float]) -> None:
    """All 12 numbers, for boxes and masks."""
    with tempfile.TemporaryDirectory() as folder:
        truth_file, found_file = Path(folder) / "truth.json", Path(folder) / "found.json"
        truth_file.write_text(json.dumps(annotations))
        found_file.write_text(json.dumps(found))
        for kind in ("box", "mask"):
            actual = summarize(*load(truth_file, found_file), kind, object_sizes)
            expected = summarize_with_pycocotools(*load_with_pycocotools(truth_file, found_file), kind, object_sizes)
            assert len(actual) == len(expected) == 12
            assert actual == pytest.approx(expected, rel=0, abs=1e-6), kind


def moved(segmentation: list[list[float]], random: np.random.Generator, size: tuple[int, int]) -> dict:
    """A polygon shifted and scaled about its middle, as compressed run lengths; `size` is (height, width)."""
    points = [np.reshape(part, (-1, 2)) for part in segmentation]
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    middle, extent = (low + high) / 2, high - low
    strength = random.choice([0, 0.03, 0.1, 0.3])
    factor, shift = 1 + strength * random.standard_normal(2), strength * extent * random.standard_normal(2)
    parts = [np.clip(middle + shift + (part - middle) * factor, 0, size[::-1]).ravel().tolist() for part in points]
    merged = mask_utils.merge(mask_utils.frPyObjects(parts, *size))
    return {"size": merged["size"], "counts": merged["counts"].decode()}


def detections_of_photos(annotations: dict, random: np.random.Generator) -> list[dict]:
    """Objects found up to four times, more or less well, sometimes under another name, and some that are not there."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    categories = [category["id"] for category in annotations["categories"]]
    found = []
    for annotation in annotations["annotations"]:
        left, top, width, height = annotation["bbox"]
        box = [[left, top, left, top + height, left + width, top + height, left + width, top]]
        outline = box if annotation["iscrowd"] else annotation["segmentation"]
        for _ in range(random.integers(5)):
            image = random.choice(list(sizes)) if random.random() < 0.1 else annotation["image_id"]
            mask = moved(outline, random, sizes[image])
            found.append(
                {
                    "image_id": int(image),
                    "category_id": int(random.choice(categories) if random.random() < 0.1 else annotation["category_id"]),
                    "bbox": mask_utils.toBbox(mask).tolist(),
                    # With one digit, many are equal.
                    "score": round(random.random(), int(random.choice([1, 15]))),
                    "segmentation": mask,
                }
            )
    random.shuffle(found)
    return found


@pytest.mark.parametrize(("split", "sizes", "left_out"), [("train", (32, 96), ()), ("val", (40, 70.5), ("bbox",))])
def test_on_real_photos_all_numbers_are_those_of_pycocotools(tiny_coco, split, sizes, left_out):
    annotations = json.loads((tiny_coco / f"annotations/instances_{split}2017.json").read_text())
    found = detections_of_photos(annotations, np.random.default_rng(0))
    assert len(found) > 500
    found = [{key: value for key, value in detection.items() if key not in left_out} for detection in found]
    assert_equal_to_pycocotools(annotations, found, sizes)


SIDE = 24
SIZES = (4, 9)
WITHOUT_OBJECTS = 9
CATEGORIES = [3, 7, WITHOUT_OBJECTS]
coordinates = st.integers(0, SIDE - 1) | st.sampled_from([0.5, 7.25, 11.9])
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates).map(
    lambda box: [*map(float, box[:2]), float(min(box[2], SIDE - box[0])), float(min(box[3], SIDE - box[1]))]
)


def pixels(box: list[float], holes: int) -> np.ndarray:
    """A box with rows left out."""
    left, top, width, height = map(int, box)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    if holes:
        mask[::holes] = 0
    return mask


def compressed(mask: np.ndarray) -> dict:
    encoded = mask_utils.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = [0, *mask.ravel(order="F").tolist()]
    changes = [place for place in range(1, len(flat)) if flat[place] != flat[place - 1]]
    return {"size": [SIDE, SIDE], "counts": np.diff([1, *changes, len(flat)]).tolist()}


@st.composite
def objects(draw, images: list[int]) -> dict:
    """An object or a crowd; area and box need not fit its mask, as after rounding, and may lie on the border of a size."""
    box, crowd, mask_holes = draw(boxes), draw(st.booleans()), draw(st.sampled_from([0, 0, 3]))
    left, top, width, height = box
    polygon = [[left, top, left, top + height, left + width, top + height, left + width, top]]
    mask = pixels(box, mask_holes)
    return {
        "image_id": draw(st.sampled_from(images)),
        "category_id": draw(st.sampled_from(CATEGORIES[:2])),
        "bbox": box,
        "area": draw(st.sampled_from([width * height, 0.0, 16.0, 81.0, 81.0000001])),
        "iscrowd": int(crowd),
        "segmentation": uncompressed(mask) if crowd else draw(st.sampled_from([polygon, compressed(mask)])),
    }


@st.composite
def hard_cases(draw) -> tuple[dict, list[dict]]:
    """A few images, some without objects or detections, with what COCO's evaluation treats in ways of its own."""
    images = draw(st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
    annotated = [{"id": i, **o} for i, o in enumerate(draw(st.lists(objects(images), max_size=8)), start=1)]
    known = [(a["image_id"], a["category_id"], a["bbox"]) for a in annotated]
    anything = st.tuples(st.sampled_from(images), st.sampled_from(CATEGORIES), boxes)
    places = st.lists(st.sampled_from(known) | anything if known else anything, max_size=8)
    scores = st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0]) | st.floats(0, 1)
    found = [
        {
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "score": draw(scores),
            "segmentation": compressed(pixels(box, draw(st.sampled_from([0, 0, 5])))),
        }
        for image, category, box in draw(places)
    ]
    # More than COCO's 100 of an image and class, in equal scores too.
    crowded = found * draw(st.sampled_from([1, 1, 1, 500 // max(1, len(found))]))
    described = [{"id": image, "height": SIDE, "width": SIDE, "file_name": "x"} for image in images]
    categories = [{"id": category, "name": str(category)} for category in CATEGORIES]
    return {"images": described, "annotations": annotated, "categories": categories}, crowded


@settings(max_examples=50)
@given(hard_cases())
def test_on_hard_cases_all_numbers_are_those_of_pycocotools(case):
    assert_equal_to_pycocotools(*case, SIZES)


@pytest.mark.parametrize("count", [100, 101, 500])
def test_many_detections_of_one_image_are_cut_as_pycocotools_cuts_them(count):
    random = np.random.default_rng(count)
    corners = random.integers(0, SIDE - 8, (20, 2))
    truth = [[float(left), float(top), 8.0, 8.0] for left, top in corners]
    annotations = {
        "images": [{"id": 1, "height": SIDE, "width": SIDE, "file_name": "x"}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "bbox": box,
                "area": 64.0,
                "iscrowd": int(number % 7 == 0),
                "segmentation": uncompressed(pixels(box, 0)),
            }
            for number, box in enumerate(truth, start=1)
        ],
    }
    shifted = [[*np.clip(truth[i % 20][:2] + random.integers(-2, 3, 2), 0, 16).tolist(), 8.0, 8.0] for i in range(count)]
    found = [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": box,
            "score": round(random.random(), 2),
            "segmentation": compressed(pixels(box, 0)),
        }
        for box in shifted
    ]
    assert_equal_to_pycocotools(annotations, found, SIZES)
