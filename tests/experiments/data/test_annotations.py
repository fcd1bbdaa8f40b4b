"""The gate for annotations: every kind of wrong file is one sentence with file, id, key, what was found and what is allowed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from experiments.data.annotations import check_annotations
from experiments.data.findings import TOLD, Findings
from experiments.data.masks import decode_run_lengths
from tests.experiments.data.right_files import HEIGHT, NAMES, WIDTH, right_file

FILE = Path("train.json")


def check(content, classes=NAMES) -> Findings:
    findings = Findings(FILE)
    check_annotations(content, classes, findings)
    return findings


def every(key, change):
    """A change of one key of all annotations."""

    def apply(content):
        for annotation in content["annotations"]:
            annotation[key] = change(annotation[key])

    return apply


def at(part, index, **values):
    """A change of one entry."""
    return lambda content: content[part][index].update(values)


def without(part, key, index=None):
    """Entries, or one, without a key."""

    def apply(content):
        for entry in content[part][index : None if index is None else index + 1]:
            del entry[key]

    return apply


def merged(content):
    """Two sources that both count from 1."""
    for image in content["images"]:
        image["id"] = min(image["id"], 2)
    for annotation in content["annotations"]:
        annotation["image_id"] = min(annotation["image_id"], 2)


def text_ids(content):
    for image in content["images"]:
        image["id"] = f"img_{image['id']}"
    for annotation in content["annotations"]:
        annotation["image_id"] = f"img_{annotation['image_id']}"


def corners(content):
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]


def rle(counts, size=(HEIGHT, WIDTH)):
    return at("annotations", 2, segmentation={"size": list(size), "counts": counts})


WRONG = {
    "a list": (lambda _: [], "is a list; allowed: an object"),
    "no images": (lambda c: c.pop("images"), "lacks the key 'images'; needed: images, annotations, categories"),
    "no annotations key": (lambda c: c.pop("annotations"), "lacks the key 'annotations'"),
    "annotations null": (lambda c: c.update(annotations=None), "annotations: is null; allowed: a list"),
    "without annotations": (lambda c: c["annotations"].clear(), "annotations: there are none; needed: at least one"),
    "empty split": (lambda c: c["images"].clear(), "images: there are none"),
    "no categories": (lambda c: c["categories"].clear(), "categories: there are none"),
    "an image that is text": (lambda c: c["images"].append("a.jpg"), "images[3]: is text; allowed: an object"),
    "merged without new ids": (merged, "image 2: id: 2 stands twice, at '002.png' and '003.png'; allowed: once"),
    "image ids as text": (text_ids, "image 'img_1': id: is 'img_1'; allowed: a whole number from 0 to 2^53, not text"),
    "image ids as float": (at("images", 0, id=1.0), "image 1.0: id: is 1.0; allowed: a whole number"),
    "an image id beyond 2^53": (at("images", 0, id=2**53 + 1), "id: is 9007199254740993"),
    "annotation ids from 0": (
        every("id", lambda number: number - 1),
        "annotation 0: id: is 0; allowed: a whole number from 1 to",
    ),
    "a negative id": (at("annotations", 0, id=-1), "annotation -1: id: is -1"),
    "true as id": (at("annotations", 0, id=True), "annotation True: id: is True"),
    "no id": (without("annotations", "id", 1), "annotation without id ({'image_id': 1"),
    "annotation ids twice": (at("annotations", 5, id=5), "annotation 5: id: 5 stands twice"),
    "a file name twice": (at("images", 2, file_name="001.png"), "image 3: file_name: '001.png' stands twice"),
    "no file name": (without("images", "file_name", 0), "image 1: file_name: is missing; allowed: a path"),
    "an empty file name": (at("images", 0, file_name=" "), "image 1: file_name: is ' '"),
    "no sizes": (without("images", "width"), "image 1: width: is missing; allowed: a whole number of pixels, above 0"),
    "a size of 0": (at("images", 1, height=0), "image 2: height: is 0"),
    "a size as text": (at("images", 1, height="64"), "image 2: height: is '64'"),
    "a size as float": (at("images", 1, height=64.0), "image 2: height: is 64.0"),
    "a category twice": (at("categories", 2, id=2), "category 2: id: 2 stands twice, at 'can' and 'bottle'"),
    "a name twice": (at("categories", 2, name="can"), "category 3: name: 'can' stands twice"),
    "a name that is a number": (at("categories", 2, name=7), "category 3: name: is 7; allowed: text"),
    "a blank before a name": (at("categories", 0, name=" box"), "categories: lacks 'box'; the nearest is ' box'"),
    "another class": (lambda c: c["categories"].append({"id": 4, "name": "cup"}), "'cup' is no class of the scale"),
    "another order": (lambda c: c["categories"].reverse(), "categories[0]: is 'bottle'; allowed: the order of the scale's"),
    "an unknown image": (at("annotations", 3, image_id=9), "annotation 4: image_id: is 9; allowed: an id of the images"),
    "an image id as text": (at("annotations", 3, image_id="2"), "annotation 4: image_id: is '2'; allowed: an id of the images"),
    "an unknown category": (at("annotations", 3, category_id=0), "annotation 4: category_id: is 0; allowed: an id of the cat"),
    "iscrowd as text": (at("annotations", 3, iscrowd="0"), "annotation 4: iscrowd: is '0'; allowed: 0 or 1"),
    "iscrowd 2": (at("annotations", 3, iscrowd=2), "annotation 4: iscrowd: is 2"),
    "ignore": (at("annotations", 3, ignore=1), "annotation 4: ignore: is 1; allowed: iscrowd: 1"),
    "all crowds": (every("iscrowd", lambda _: 1), "annotations: all of them are crowds"),
    "no box": (without("annotations", "bbox", 3), "annotation 4: bbox: is missing; allowed: four finite numbers"),
    "three numbers": (at("annotations", 3, bbox=[1, 2, 3]), "annotation 4: bbox: is [1, 2, 3]; allowed: four finite numbers"),
    "a box with NaN": (at("annotations", 3, bbox=[math.nan, 2, 3, 4]), "annotation 4: bbox: is [nan, 2, 3, 4]"),
    "an infinite box": (at("annotations", 3, bbox=[1, 2, math.inf, 4]), "annotation 4: bbox: is [1, 2, inf, 4]"),
    "a box of texts": (at("annotations", 3, bbox=["1", "2", "3", "4"]), "annotation 4: bbox: is ['1', '2', '3', '4']"),
    "null in a box": (at("annotations", 3, bbox=[1, None, 3, 4]), "annotation 4: bbox: is [1, None, 3, 4]"),
    "a box as object": (at("annotations", 3, bbox={"x": 1}), "annotation 4: bbox: is {'x': 1}"),
    "a negative width": (at("annotations", 3, bbox=[20, 2, -3, 4]), "annotation 4: bbox: is [20, 2, -3, 4]; allowed: a width"),
    "no height": (at("annotations", 3, bbox=[20, 2, 3, 0]), "bbox: is [20, 2, 3, 0]; allowed: a width and a height above 0"),
    "outside": (at("annotations", 3, bbox=[90, 2, 3, 4]), "lies outside of its image; allowed: inside of 80 × 64 pixels"),
    "normalised": (
        every("bbox", lambda b: [b[0] / 80, b[1] / 64, b[2] / 80, b[3] / 64]),
        "annotation 1: bbox: is [0.05, 0.09375, 0.25, 0.46875], a share of the image; allowed: pixels",
    ),
    "corners": (corners, "two corners; allowed: x, y, width, height"),
    "rows before columns in boxes": (
        every("bbox", lambda b: [b[1], b[0], b[3], b[2]]),
        "but the corners of its mask are [4, 6, 24, 36]; allowed: x, y, width, height of the mask",
    ),
    "no areas": (without("annotations", "area"), "annotation 1: area: is missing; needed: the pixels of the mask"),
    "a negative area": (at("annotations", 3, area=-5), "annotation 4: area: is -5; allowed: a number of pixels, at least 0"),
    "an area with NaN": (at("annotations", 3, area=math.nan), "annotation 4: area: is nan"),
    "an area as text": (at("annotations", 3, area="216"), "annotation 4: area: is '216'"),
    "an area of 0": (at("annotations", 3, area=0), "annotation 4: area: is 0; allowed: above 0"),
    "an area larger than the box": (at("annotations", 3, area=5000), "area: is 5000, but bbox is [30, 30, 18, 12]; allowed"),
    "an area larger than the image": (at("annotations", 3, area=2e10), "annotation 4: area: is 20000000000.0, but bbox"),
    "normalised areas": (every("area", lambda a: a / 5120), "annotation 1: area: is 0.1171875, but bbox is [4, 6, 20, 30]"),
    "a mask as text": (
        at("annotations", 2, segmentation="no"),
        "annotation 3: segmentation: is 'no'; allowed: polygons or RLE",
    ),
    "a polygon without its list": (
        at("annotations", 2, segmentation=[1, 2, 3, 4, 5, 6]),
        "segmentation: is one list of numbers",
    ),
    "an odd polygon": (at("annotations", 2, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "has a polygon of 7 numbers; allowed:"),
    "two points": (
        at("annotations", 2, segmentation=[[1, 2, 3, 4]]),
        "has a polygon of fewer than 3 points; allowed: at least 3",
    ),
    "an empty polygon": (at("annotations", 2, segmentation=[[]]), "has the polygon []"),
    "points as pairs": (
        at("annotations", 2, segmentation=[[[1, 2], [3, 4], [5, 6]]]),
        "has the polygon [[1, 2], [3, 4], [5, 6]]",
    ),
    "a polygon with NaN": (
        at("annotations", 2, segmentation=[[1, 2, math.nan, 4, 5, 6]]),
        "has the polygon [1, 2, nan, 4, 5, 6]",
    ),
    "an RLE of another size": (
        rle([5120], (WIDTH, HEIGHT)),
        "size: is [80, 64]; allowed: height and width of the image, [64, 80]",
    ),
    "an RLE without counts": (
        at("annotations", 2, segmentation={"size": [64, 80]}),
        "counts: is missing; allowed: a list of whole",
    ),
    "an RLE that is too short": (
        rle([100, 20]),
        "counts: covers 120 pixels; allowed: lengths of at least 0 that cover 64 × 80",
    ),
    "an RLE with negative lengths": (rle([5130, -10]), "counts: covers 5120 pixels; allowed: lengths of at least 0"),
    "an RLE of floats": (rle([5120.0]), "counts: is [5120.0]; allowed: a list of whole numbers, or text"),
    "an RLE that is no RLE": (rle("~~~"), "counts: is '~~~' is no compressed RLE"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_in_one_sentence(kind):
    change, words = WRONG[kind]
    content = right_file()
    changed = change(content)
    findings = check(changed if isinstance(changed, list) and kind == "a list" else content)
    assert not findings.is_right
    sentence = findings.first
    assert sentence.startswith("train.json: ")
    assert words in sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


def test_a_right_file_has_no_fault_and_no_notice():
    findings = check(right_file())
    assert findings.is_right, findings.first
    assert list(findings.lines()) == []


def encode(mask):
    encoded = mask_utils.encode(np.asfortranarray(mask))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def without_objects(content):
    content["images"].append({"id": 4, "file_name": "sub/ü 004.jpg", "width": 80, "height": 64, "license": 3})


def categories_from_0(content):
    for category in content["categories"]:
        category["id"] -= 1
    for annotation in content["annotations"]:
        annotation["category_id"] -= 1


RIGHT = {
    "an image without objects": (without_objects, None),
    "whole numbers as float in a box": (every("bbox", lambda box: [float(value) for value in box]), None),
    "category ids from 0": (categories_from_0, None),
    "no iscrowd": (without("annotations", "iscrowd"), "6 annotations have no iscrowd; it is taken as 0"),
    "a crowd as RLE": (at("annotations", 3, iscrowd=1, segmentation={"size": [64, 80], "counts": [100, 200, 4820]}), None),
    "no masks": (without("annotations", "segmentation"), None),
    "a box over the edge": (
        at("annotations", 4, bbox=[60, 40, 22, 24], area=480),
        "1 boxes leave their image by more than a pixel; they are clipped",
    ),
    "a box over the edge by rounding": (at("annotations", 4, bbox=[60, 40, 20.4, 24]), None),
    "a narrow box": (
        at("annotations", 3, bbox=[30, 30, 0.5, 12], area=6, segmentation=[[30, 30, 30.5, 30, 30.5, 42, 30, 42]]),
        "1 boxes are narrower than a pixel",
    ),
    "a class without objects": (
        lambda c: [a.update(category_id=min(a["category_id"], 2)) for a in c["annotations"]],
        "1 of 3 classes have no object: bottle",
    ),
    "the same object twice": (
        lambda c: c["annotations"].append(c["annotations"][0] | {"id": 7}),
        "1 objects have the same image, class and box as another",
    ),
    "a small image": (at("images", 0, width=31), "1 images are smaller than 32 pixels; mmdetection leaves them out"),
    "a mask elsewhere": (
        at("annotations", 3, segmentation=[[1, 1, 5, 1, 5, 5]]),
        "1 of 6 boxes share less than half of their pixels with their mask's extent",
    ),
    "an area that is a thousandth": (at("annotations", 3, area=0.1), "1 areas are less than 0.001 of their boxes"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_harms_nobody_is_a_notice_or_nothing(kind):
    change, notice = RIGHT[kind]
    content = right_file()
    change(content)
    if kind == "a small image":
        content["annotations"] = content["annotations"][2:]
    findings = check(content)
    assert findings.is_right, findings.first
    if notice is None:
        assert findings.notices == []
    else:
        assert [found for found in findings.notices if notice in found], findings.notices


def many(count):
    content = right_file()
    one = content["annotations"][0]
    content["annotations"] = [one | {"id": number + 1, "bbox": [4, 6, 20 + number / count, 30]} for number in range(count)]
    return content


@pytest.mark.parametrize(
    ("values", "notice"),
    [
        (
            {"bbox": [296 / 8, 30, 1.03, 0.0], "area": 0.0, "segmentation": [[37, 30, 37, 30, 38, 30, 38, 30]]},
            "no width or no height",
        ),
        ({"segmentation": [[4, 6, 24, 36]]}, "fewer than 3 points"),
        ({"area": 0}, "areas are 0"),
    ],
    ids=["COCO's annotation 918", "two points", "area"],
)
def test_oddities_of_coco_are_notices_where_they_are_as_rare_as_there(values, notice):
    content = many(2000)
    content["annotations"][7].update(values)
    findings = check(content, NAMES)
    assert findings.is_right, findings.first
    assert [found for found in findings.notices if found.startswith("1 ") and notice in found], findings.notices
    for annotation in content["annotations"][:50]:
        annotation.update(values)
    assert not check(content).is_right


def test_up_to_twenty_faults_of_a_kind_are_told_with_the_number_of_all():
    content = many(100)
    for annotation in content["annotations"][:30]:
        annotation["category_id"] = 77
    content["annotations"][40]["iscrowd"] = 7
    findings = check(content)
    lines = list(findings.lines())
    assert len(lines) == TOLD + 2
    assert lines[TOLD] == "train.json: 10 more of this kind"
    assert "iscrowd" in lines[-1]
    assert findings.first.endswith("(30 more: python -m experiments check-data --all)")


@pytest.mark.parametrize("seed", range(20))
def test_compressed_run_lengths_are_decoded_as_pycocotools_does(seed):
    generator = np.random.default_rng(seed)
    mask = (generator.random((40, 30)) < generator.random()).astype(np.uint8)
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    expected = np.diff([0, *changes, pixels.size]).tolist()
    assert decode_run_lengths(encode(mask)["counts"]) == ([0, *expected] if pixels[0] else expected)


def test_numbers_that_json_has_and_numpy_has_not_are_refused():
    content = json.loads(json.dumps(right_file()).replace('"area": 600', '"area": 1e999'))
    assert "area: is inf" in check(content).first
