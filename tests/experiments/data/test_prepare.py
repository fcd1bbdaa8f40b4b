"""Datasets: drawn deterministically, and checked before anything is trained on them."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from experiments.data.prepare import prepare_dataset
from experiments.data.stuff_maps import check_stuff_maps
from experiments.errors import UserError
from experiments.spec.datasets import ExpectedSplit
from experiments.spec.scale import load_scale
from tests.conftest import SHAPES


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_equal_settings_draw_equal_bytes_and_another_seed_others(tmp_path):
    for name, settings in (("one", SHAPES), ("same", SHAPES), ("other", SHAPES.replace(seed=1))):
        prepare_dataset(settings, tmp_path / name, None)
    assert digest(tmp_path / "one") == digest(tmp_path / "same")
    assert digest(tmp_path / "one") != digest(tmp_path / "other")


def test_training_and_validation_images_are_disjoint(tmp_path):
    prepare_dataset(SHAPES, tmp_path / "shapes", None)
    digests = digest(tmp_path / "shapes")
    assert len(set(digests.values())) == len(digests)


def test_annotations_describe_the_visible_masks(tmp_path):
    prepare_dataset(SHAPES, tmp_path / "shapes", None)
    content = json.loads((tmp_path / "shapes/annotations/train.json").read_text())
    by_image: dict[int, list] = {}
    for annotation in content["annotations"]:
        mask = mask_utils.decode(annotation["segmentation"])
        assert mask.sum() == annotation["area"] > 0
        columns, rows = mask.any(0).nonzero()[0], mask.any(1).nonzero()[0]
        assert annotation["bbox"] == [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        by_image.setdefault(annotation["image_id"], []).append(mask)
    assert all(sum(masks).max() == 1 for masks in by_image.values()), "visible masks never overlap"


def test_demo_has_all_classes_and_small_medium_and_large_objects(tmp_path):
    scale = load_scale("demo")
    prepare_dataset(scale.dataset.replace(train_count=200, val_count=1), tmp_path / "demo", None)
    annotations = json.loads((tmp_path / "demo/annotations/train.json").read_text())["annotations"]
    assert {annotation["category_id"] for annotation in annotations} == set(range(1, len(scale.dataset.classes) + 1))
    small, large = (side**2 for side in scale.object_sizes)
    shares = [
        sum(low <= annotation["area"] < high for annotation in annotations) / len(annotations)
        for low, high in ((0, small), (small, large), (large, 1e9))
    ]
    assert min(shares) > 0.05, shares


def prepare_coco(folder, tmp_path, **expected):
    return prepare_dataset(load_scale("coco").dataset, tmp_path / "datasets/coco", folder, expected).identity


def change_annotations(folder, change):
    path = folder / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_right_folder_is_linked_and_described(coco, tmp_path):
    identity = prepare_coco(coco, tmp_path)
    assert (tmp_path / "datasets/coco").resolve() == coco.resolve()
    assert identity.train.images == 12
    assert identity.val.images == 8


def test_labels_of_stuff_maps_are_those_of_the_annotations_background_and_clutter(tmp_path):
    # So many that some are hidden.
    prepare_dataset(SHAPES.replace(min_objects=8, max_objects=12), tmp_path / "shapes", None)
    content = json.loads((tmp_path / "shapes/annotations/train.json").read_text())
    seen = set()
    for image in content["images"]:
        labels = np.asarray(Image.open(tmp_path / "shapes/stuffthingmaps/train" / image["file_name"]))
        things = np.zeros(labels.shape, bool)
        for annotation in content["annotations"]:
            if annotation["image_id"] == image["id"]:
                mask = mask_utils.decode(annotation["segmentation"]).astype(bool)
                assert (labels[mask] == annotation["category_id"] - 1).all()
                things |= mask
        assert set(np.unique(labels[~things])) <= {6, 7, 255}
        seen |= set(np.unique(labels))
    assert seen == {*range(8), 255}


def test_drawn_annotations_stay_those_that_runs_were_trained_on(tmp_path):
    identity = prepare_dataset(SHAPES, tmp_path / "shapes", None).identity
    assert identity.train.annotations_sha256.startswith("61bbe7d0951c")


def give_stuff_maps(tmp_path, coco):
    shutil.copytree(tmp_path / "drawn/stuffthingmaps/train", coco / "stuffthingmaps/train2017")
    return coco / "stuffthingmaps/train2017"


def test_complete_stuff_maps_pass(coco, tmp_path):
    give_stuff_maps(tmp_path, coco)
    found = check_stuff_maps(load_scale("coco").dataset, coco)
    assert found == {"folder": "stuffthingmaps/train2017/", "stuff_maps": 12}


def in_colour(folder):
    path = folder / "000003.png"
    Image.open(path).convert("P").save(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, ["the folder", "does not exist"]),
        (lambda folder: (folder / "000003.png").unlink(), ["1 of 12 are missing", "000003.png"]),
        (lambda folder: (folder / "000003.png").write_bytes(b"\x89PNG"), ["000003.png is damaged"]),
        (in_colour, ["000003.png", "mode P"]),
    ],
)
def test_stuff_maps_that_are_missing_or_wrong_are_one_sentence(coco, tmp_path, damage, words):
    folder = give_stuff_maps(tmp_path, coco)
    damage(folder)
    with pytest.raises(UserError) as error:
        check_stuff_maps(load_scale("coco").dataset, coco)
    assert "\n" not in str(error.value)
    for word in [str(folder), *words]:
        assert word in str(error.value), str(error.value)
    assert "stuffthingmaps_trainval2017.zip of COCO-Stuff" in str(error.value) or "damaged" in words[0]


def truncate(folder):
    path = folder / "train2017/000003.png"
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "annotations/instances_val2017.json").unlink(), ["instances_val2017.json", "does not exist"]),
        (lambda f: (f / "annotations/instances_val2017.json").write_text("{"), ["instances_val2017.json", "not JSON"]),
        (lambda f: (f / "annotations/instances_val2017.json").write_text("[]"), ["instances_val2017.json", "COCO"]),
        (lambda f: (f / "train2017/000003.png").unlink(), ["000003.png", "does not exist"]),
        (truncate, ["000003.png", "damaged"]),
        (lambda f: (f / "train2017/000003.png").write_bytes(b""), ["000003.png", "damaged"]),
        (
            lambda f: change_annotations(f, lambda c: c["annotations"][4].update(category_id=91)),
            ["annotation 5", "category_id: is 91", "from 1 to 80"],
        ),
        (
            lambda f: change_annotations(f, lambda c: c["annotations"][4].update(image_id=91)),
            ["annotation 5", "image_id: is 91"],
        ),
        (lambda f: change_annotations(f, lambda c: c["categories"].pop(0)), ["categories", "'person'"]),
        (lambda f: change_annotations(f, lambda c: c.pop("images")), ["'images'"]),
        (lambda f: shutil.rmtree(f), ["data_root", "not a folder"]),
    ],
)
def test_damage_is_one_sentence_with_the_file(coco, tmp_path, damage, words):
    damage(coco)
    with pytest.raises(UserError) as error:
        prepare_coco(coco, tmp_path)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_a_complete_dataset_passes(coco, tmp_path):
    found = prepare_coco(coco, tmp_path)
    expected = ExpectedSplit(images=12, annotations_sha256=found.train.annotations_sha256)
    (coco / "train2017/notes.txt").write_text("no image")
    assert prepare_coco(coco, tmp_path, train=expected, val=ExpectedSplit(images=8)) == found


@pytest.mark.parametrize(
    ("damage", "expected", "words"),
    [
        (lambda f: None, {"images": 13}, ["instances_train2017.json", "names 12 images, not 13", "unpack its archive again"]),
        (lambda f: (f / "train2017/000003.png").unlink(), {"images": 12}, ["train2017", "holds 11 image files, not 12"]),
        (lambda f: shutil.copy(f / "train2017/000003.png", f / "train2017/x.PNG"), {"images": 12}, ["holds 13 image files"]),
        (lambda f: shutil.rmtree(f / "train2017"), {"images": 12}, ["train2017", "holds 0 image files"]),
        (
            lambda f: None,
            {"images": 12, "annotations_sha256": "0" * 64},
            ["instances_train2017.json", f"not {'0' * 64}", "data_root"],
        ),
    ],
)
def test_an_incomplete_dataset_is_refused(coco, tmp_path, damage, expected, words):
    damage(coco)
    with pytest.raises(UserError) as error:
        prepare_coco(coco, tmp_path, train=ExpectedSplit(**expected))
    for word in words:
        assert word in str(error.value), str(error.value)


def test_coco_is_expected_to_be_complete():
    splits = load_scale("coco").expected_splits
    assert {name: split.images for name, split in splits.items()} == {"train": 118287, "val": 5000}


def test_real_photos_pass(tiny_coco, tmp_path):
    identity = prepare_dataset(load_scale("coco").dataset, tmp_path / "datasets/coco", tiny_coco).identity
    assert identity.train.images == 50
    assert identity.train.annotations == 470


def test_a_truncated_photo_is_found(tiny_coco, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(tiny_coco, folder)
    photo = next((folder / "train2017").iterdir())
    photo.chmod(0o644)
    photo.write_bytes(photo.read_bytes()[:-1000])
    with pytest.raises(UserError, match=f"{photo.name} is damaged"):
        prepare_dataset(load_scale("tiny_coco").dataset, tmp_path / "datasets/tiny_coco", folder)
