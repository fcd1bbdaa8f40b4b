"""The gate for panoptic annotations: what is refused, in which sentence, and what is only said."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments.data.coco import identify
from experiments.data.findings import DatasetError, Findings
from experiments.data.panoptic_maps import SegmentFiles, check_segments
from experiments.data.synthetic import write_synthetic_dataset
from experiments.spec.datasets import CocoDataset, Segments
from experiments.tasks.segments import id_to_rgb, read_map, rgb_to_id
from tests.conftest import SHAPES

STUFF = ["background", "clutter"]


@pytest.fixture
def folder(tmp_path):
    write_synthetic_dataset(tmp_path, SHAPES)
    return tmp_path


def dataset(**changes):
    segments = {f"{split}_{kind}": path for split in ("train", "val") for kind, path in (
        ("annotations", f"annotations/panoptic_{split}.json"), ("maps", f"panoptic/{split}/"))}  # fmt: skip
    files = {f"{split}_annotations": f"annotations/{split}.json" for split in ("train", "val")}
    images = {f"{split}_images": f"{split}/" for split in ("train", "val")}
    classes = list(SHAPES.classes)
    return CocoDataset(kind="coco", classes=classes, segments=Segments(stuff=STUFF, **segments | changes), **files, **images)


def check(folder, **changes):
    return identify(dataset(**changes), folder, {}, None)


def edit(folder, change, split="val"):
    path = folder / f"annotations/panoptic_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(folder):
    with pytest.raises(DatasetError) as error:
        check(folder)
    return str(error.value)


def test_what_is_drawn_is_right(folder):
    identify(SHAPES, folder, {}, None)
    checked = check(folder)
    assert checked.identity.train.images == SHAPES.train_count
    assert checked.notices == []


def test_segments_and_their_maps_are_part_of_the_identity(folder):
    before = check(folder).identity
    edit(folder, lambda content: content.update(info="another"))
    after = check(folder).identity
    assert after.train == before.train
    assert after.val != before.val
    path = folder / "panoptic/val/000000.png"
    with Image.open(path) as image:
        image.save(path, compress_level=1)
    assert check(folder).identity.val != after.val


def segment(content, image=0, number=0):
    return content["annotations"][image]["segments_info"][number]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("annotations"), "annotations: is missing; allowed: a list of objects, as in COCO's panoptic format"),
        (
            lambda c: c["categories"][6].update(isthing=1),
            "categories: entry 6 is 'background' with isthing 1; allowed: 'background' with isthing 0: the things of",
        ),
        (
            lambda c: c["categories"].pop(),
            "categories: entry 7 is no category; allowed: 'clutter' with isthing 0: the things of the scale's dataset in their"
            " order, 6, then its stuff, 2",
        ),
        (
            lambda c: c["annotations"].pop(0),
            "image 0 has 0 entries in annotations; allowed: one for each image of the annotations of objects",
        ),
        (
            lambda c: c["annotations"][0].update(file_name="zero.png"),
            "image 0: file_name: is 'zero.png'; allowed: '000000.png', the name of its image, from which",
        ),
        (lambda c: c["categories"][1].update(id=1), "categories: entry 1: id: is 1; allowed: a number of its own"),
        (lambda c: segment(c).update(id=0), "image 0, segment 0: id: is 0; allowed: 1 to 16,777,215"),
        (
            lambda c: segment(c).update(category_id=9),
            "image 0, segment 1: category_id: is 9; allowed: an id of the 8 categories",
        ),
        (lambda c: segment(c).update(iscrowd=2), "image 0, segment 1: iscrowd: is 2; allowed: 0 or 1"),
        (lambda c: segment(c, number=-1).update(iscrowd=1), "iscrowd: is 1; allowed: 0 for stuff"),
        (
            lambda c: segment(c).pop("bbox"),
            "image 0, segment 1: bbox: is missing; allowed: four numbers, x, y, width and height",
        ),
        (lambda c: segment(c).update(area=7), "image 0, segment 1: area: is 7; allowed: "),
        (lambda c: segment(c, number=1).update(id=1), "image 0: two segments have the id 1; allowed: each id once"),
        (
            lambda c: c["annotations"][0]["segments_info"].pop(),
            "is in the map alone; allowed: the same ids in both, and 0 in the map where there is no segment",
        ),
        (lambda c: segment(c).update(id=77, area=7), "image 0: segment 1 is in the map alone; allowed: the same ids in both"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(folder, change, sentence):
    edit(folder, change)
    text = refused(folder)
    assert "panoptic_val.json: " in text
    assert sentence in text


def test_maps_are_checked_one_by_one(folder):
    path = folder / "panoptic/val/000003.png"
    identifiers = read_map(path)
    Image.fromarray(identifiers.astype(np.uint8)).save(path)
    assert "000003.png has the mode L; allowed: RGB, whose colours are ids, red + 256 green + 65536 blue" in refused(folder)
    Image.fromarray(id_to_rgb(identifiers)[:40]).save(path)
    assert "map 000003.png has 64 × 40 pixels; allowed: the size of its image, 64 × 64" in refused(folder)
    path.write_bytes(path.read_bytes()[:50])
    assert "000003.png is damaged, or no image" in refused(folder)
    path.unlink()
    assert "does not exist" in refused(folder)


def test_much_void_is_said(folder):
    for path in (folder / "panoptic/val").iterdir():
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    edit(folder, lambda content: [entry.update(segments_info=[]) for entry in content["annotations"]])
    assert any("100% of all pixels belong to no segment and do not count" in notice for notice in check(folder).notices)


@given(st.integers(0, 2**24 - 1))
def test_ids_are_colours_and_back(identifier):
    assert rgb_to_id(id_to_rgb(np.array([[identifier]]))).item() == identifier


VALUES = st.sampled_from([None, -1, 0, 1, 3, 2.5, "1", [], [1], {}, True, float("nan"), 10**30])


@given(st.data())
def test_no_file_of_wrong_values_ends_in_an_error_of_the_check(tmp_path_factory, data):
    entries = [{"image_id": image, "file_name": f"{image}.png", "segments_info": [
        {"id": 1, "category_id": 1, "area": 12, "bbox": [0, 0, 4, 3], "iscrowd": 0}]} for image in range(2)]  # fmt: skip
    categories = [{"id": 1, "name": "disc", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
    content = copy.deepcopy({"images": [], "annotations": entries, "categories": categories})
    places = [content, *entries, *content["annotations"], *content["categories"]]
    places += [segment for entry in content["annotations"] for segment in entry["segments_info"]]
    place = data.draw(st.sampled_from([place for place in places if place]))
    key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(VALUES)
    folder = tmp_path_factory.getbasetemp() / "maps"
    folder.mkdir(exist_ok=True)
    for image in range(2):
        Image.fromarray(id_to_rgb(np.ones((3, 4), int))).save(folder / f"{image}.png")
    findings = Findings(folder / "panoptic.json")
    images = {image: (f"{image}.jpg", 4, 3) for image in range(2)}
    check_segments(content, SegmentFiles(folder, images, ["disc"], ["sky"]), findings)
    for kind in findings.kinds:
        assert all("allowed" in sentence or "does not exist" in sentence for sentence in kind.sentences)
