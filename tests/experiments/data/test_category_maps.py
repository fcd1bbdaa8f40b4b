"""Label maps of one category of a dataset in COCO's format: its images alone, its objects, its crowds."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from experiments.data.prepare import check_dataset, prepare_dataset
from experiments.errors import UserError
from experiments.spec.converted_datasets import CategoryMapsDataset
from tests.conftest import SHAPES

STARS = CategoryMapsDataset(
    kind="category_maps",
    category="star",
    train_annotations="annotations/train.json",
    train_images="train/",
    val_annotations="annotations/val.json",
    val_images="val/",
    image_ending=".png",
)


@pytest.fixture
def drawn(tmp_path):
    """Drawn shapes; the first star of the training split is a crowd."""
    folder = tmp_path / "drawn"
    prepare_dataset(SHAPES.replace(train_count=40, val_count=20), folder, None)
    path = folder / "annotations/train.json"
    content = json.loads(path.read_text())
    star = next(category["id"] for category in content["categories"] if category["name"] == "star")
    next(entry for entry in content["annotations"] if entry["category_id"] == star)["iscrowd"] = 1
    path.write_text(json.dumps(content))
    return folder


def stars(drawn, split):
    """File name to the objects that are stars."""
    content = json.loads((drawn / f"annotations/{split}.json").read_text())
    star = next(category["id"] for category in content["categories"] if category["name"] == "star")
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = {}
    for entry in content["annotations"]:
        if entry["category_id"] == star:
            found.setdefault(names[entry["image_id"]], []).append(entry)
    return found


@pytest.mark.parametrize("split", ["train", "val"])
def test_maps_label_the_objects_of_the_category_and_ignore_crowds(split, drawn, tmp_path):
    checked = prepare_dataset(STARS, tmp_path / "datasets/stars", drawn)
    wanted = stars(drawn, split)
    maps = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / f"datasets/stars/maps/{split}").iterdir()}
    assert set(maps) == set(wanted)
    assert getattr(checked.identity, split).images == len(wanted) < len(list((drawn / split).iterdir()))
    for name, entries in wanted.items():
        expected = np.zeros(maps[name].shape, int)
        for entry in sorted(entries, key=lambda entry: -entry["iscrowd"]):
            expected[mask_utils.decode(entry["segmentation"]).astype(bool)] = 255 if entry["iscrowd"] else 1
        assert np.array_equal(maps[name], expected)
        assert (tmp_path / f"datasets/stars/images/{split}/{name}").resolve() == (drawn / split / name).resolve()
    assert any((labels == 255).any() for labels in maps.values()) == (split == "train")


def test_a_conversion_repeats_itself_and_drops_images_that_have_gone(drawn, tmp_path):
    folder = tmp_path / "datasets/stars"
    first = prepare_dataset(STARS, folder, drawn)
    assert prepare_dataset(STARS, folder, drawn).identity == first.identity == check_dataset(STARS, drawn, {}).identity
    path = drawn / "annotations/train.json"
    content = json.loads(path.read_text())
    gone = stars(drawn, "train").popitem()[0]
    number = next(image["id"] for image in content["images"] if image["file_name"] == gone)
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != number]
    path.write_text(json.dumps(content))
    again = prepare_dataset(STARS, folder, drawn)
    assert again.identity.train.images == first.identity.train.images - 1
    assert not (folder / f"maps/train/{gone}").exists()
    assert (drawn / f"train/{gone}").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"category": "stop sign"},
            r"train\.json: has no category 'stop sign'; allowed in the scale's dataset: category: disc, ",
        ),
        ({"train_annotations": "annotations/none.json"}, r"none\.json .* does not exist"),
    ],
)
def test_what_is_missing_is_named(change, sentence, drawn, tmp_path):
    with pytest.raises(UserError, match=sentence):
        prepare_dataset(STARS.replace(**change), tmp_path / "datasets/stars", drawn)


def test_a_category_without_an_image_is_named(drawn, tmp_path):
    path = drawn / "annotations/val.json"
    content = json.loads(path.read_text())
    star = next(category["id"] for category in content["categories"] if category["name"] == "star")
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] != star]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"val\.json: no image shows a star"):
        prepare_dataset(STARS, tmp_path / "datasets/stars", drawn)


def test_annotations_are_checked_first(drawn, tmp_path):
    path = drawn / "annotations/train.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["category_id"] = 77
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="category_id: is 77"):
        prepare_dataset(STARS, tmp_path / "datasets/stars", drawn)
    assert not (tmp_path / "datasets/stars/maps").exists()
