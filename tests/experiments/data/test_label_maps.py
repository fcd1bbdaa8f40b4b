"""The gate for label maps: what is refused, in which sentence, and what is only said."""

import numpy as np
import pytest
from PIL import Image

from experiments.data.findings import DatasetError
from experiments.data.label_maps import identify, prepare
from experiments.errors import UserError
from experiments.spec.datasets import ExpectedSplit, LabelMapDataset

CLASSES = ["road", "car", "sky"]
RANDOM = np.random.default_rng(0)


def dataset(**changes):
    folders = {f"{split}_{kind}": f"{kind}/{split}/" for split in ("train", "val") for kind in ("images", "maps")}
    return LabelMapDataset(kind="label_maps", classes=CLASSES, **{**folders, **changes})


def write_image(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)


def write_map(path, labels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if mode == "P":
        image.putpalette(range(256 * 3 // 3))
    image.save(path)


def right_labels():
    return np.arange(48).reshape(6, 8) % 3


@pytest.fixture
def folder(tmp_path):
    """Four images and their maps, in subfolders in the training split."""
    for name in ("train/one/a", "train/one/b", "train/two/c", "val/d"):
        write_image(tmp_path / f"images/{name}.jpg")
        write_map(tmp_path / f"maps/{name}.png", right_labels())
    return tmp_path


def check(folder, expected=None, **changes):
    return identify(dataset(**changes), folder, expected or {}, None)


def test_a_right_folder_is_counted_and_identified_by_its_maps(folder):
    checked = check(folder)
    assert (checked.identity.train.images, checked.identity.train.annotations, checked.identity.val.images) == (3, 3, 1)
    assert checked.notices == []
    write_map(folder / "maps/val/d.png", right_labels()[::-1])
    assert check(folder).identity.train == checked.identity.train
    assert check(folder).identity.val != checked.identity.val


def test_a_palette_holds_labels_as_grey_values_do(folder):
    write_map(folder / "maps/val/d.png", right_labels(), "P")
    assert check(folder).identity.val.annotations == 1


def test_names_may_end_as_those_of_cityscapes(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"images/{split}/ulm/ulm_{split}_leftImg8bit.png")
        write_map(tmp_path / f"maps/{split}/ulm/ulm_{split}_gtFine_labelTrainIds.png", right_labels())
        write_map(tmp_path / f"maps/{split}/ulm/ulm_{split}_gtFine_instanceIds.png", np.full((6, 8), 33))
    checked = check(tmp_path, image_ending="_leftImg8bit.png", map_ending="_gtFine_labelTrainIds.png")
    assert checked.identity.train.annotations == 1
    for split in ("train", "val"):
        write_map(tmp_path / f"maps/{split}/x_gtFine_labelIds.png", right_labels())
    with pytest.raises(DatasetError, match=r"has no label map; allowed: a file .*ulm_train_gtFine_labelIds\.png"):
        check(tmp_path, image_ending="_leftImg8bit.png", map_ending="_gtFine_labelIds.png")


def exchanged(folder):
    write_map(folder / "maps/val/d.png", right_labels().T)


def foreign(folder):
    write_map(folder / "maps/val/d.png", np.full((6, 8), 7))


def colours(folder):
    write_image(folder / "maps/val/d.png")


def sixteen_bits(folder):
    Image.fromarray(np.full((6, 8), 300, np.uint16)).save(folder / "maps/val/d.png")


def half_a_file(folder):
    path = folder / "maps/val/d.png"
    path.write_bytes(path.read_bytes()[:40])


def no_map(folder):
    (folder / "maps/train/two/c.png").unlink()


def equal_names(folder):
    write_image(folder / "images/train/two/a.jpg")
    write_map(folder / "maps/train/two/a.png", right_labels())


def all_ignored(folder):
    write_map(folder / "maps/val/d.png", np.full((6, 8), 255))


def half_an_image(folder):
    path = folder / "images/val/d.jpg"
    path.write_bytes(path.read_bytes()[:30])


FAULTS = {
    exchanged: r"image .*d\.jpg: width and height of its label map: are 6 × 8, width and height exchanged; allowed: .* 8 × 6",
    foreign: r"label map d\.png has the label 7; allowed: 0 to 2 for road to sky, and 255, ignored: ids of another numbering",
    colours: r"label map d\.png has the mode RGB, colours in the place of labels; allowed: one label of 8 bits",
    sixteen_bits: r"label map d\.png has the mode I;16, 16 bits, of which loaders keep 8; allowed: one label of 8 bits",
    half_a_file: r"label map d\.png is damaged, or no image",
    no_map: r"image two/c\.jpg has no label map; allowed: a file .*maps/train/two/c\.png",
    equal_names: r"images two/a\.jpg and one/a\.jpg have the same name, by which predictions are kept; allowed: each name once",
    all_ignored: r"all pixels have the label 255, ignored; allowed: labels of classes",
    half_an_image: r"image .*d\.jpg is damaged",
}


@pytest.mark.parametrize("damage", FAULTS, ids=lambda damage: damage.__name__)
def test_a_fault_is_one_sentence_with_what_is_allowed(damage, folder):
    damage(folder)
    with pytest.raises(DatasetError, match=FAULTS[damage]):
        check(folder)


def test_label_ids_of_cityscapes_are_named_with_their_remedy(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / f"images/{split}/{split}_leftImg8bit.png")
        write_map(tmp_path / f"maps/{split}/{split}_gtFine_labelIds.png", np.full((6, 8), 33))
    with pytest.raises(DatasetError, match=r"has the label 33; .*createTrainIdLabelImgs writes"):
        check(tmp_path, image_ending="_leftImg8bit.png", map_ending="_gtFine_labelIds.png")


def test_notices_count_what_a_reader_should_know(folder):
    labels = np.full((6, 8), 255)
    labels[0] = 0
    write_map(folder / "maps/val/d.png", labels)
    write_map(folder / "maps/val/lost.png", right_labels())
    (folder / "images/val/d.jpg").write_bytes((folder / "images/train/one/a.jpg").read_bytes())
    notices = "\n".join(check(folder).notices)
    assert "val: notice: 83% of all pixels have the label 255 and are ignored" in notices
    assert "val: notice: 2 classes have no pixel: car, sky" in notices
    assert "val: notice: 1 label maps have no image in images/val/ and are left out" in notices
    assert "are the same file as an image of the training split: d.jpg = a.jpg" in notices


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_maps": "nowhere/"}, "nowhere .* does not exist: correct data_root or the scale's dataset"),
        ({"image_ending": ".bmp"}, r"holds no files that end in \.bmp"),
    ],
)
def test_a_missing_folder_is_named(changes, words, folder):
    with pytest.raises(UserError, match=words):
        check(folder, **changes)


def test_an_incomplete_split_is_refused_before_its_images_are_read(folder):
    with pytest.raises(UserError, match="belongs to 3 images, not 4: unpack its archive again"):
        check(folder, {"train": ExpectedSplit(images=4)})
    with pytest.raises(UserError, match=r"have SHA-256 [0-9a-f]{64} together, not 0{64}"):
        check(folder, {"train": ExpectedSplit(images=3, annotations_sha256="0" * 64)})


def test_the_ignored_label_is_no_class():
    with pytest.raises(ValueError, match="ignored is 1, the label of class 'car'; allowed: 3 to 255"):
        dataset(ignored=1)


def test_classes_may_be_counted_from_1(folder):
    for path in (folder / "maps").rglob("*.png"):
        write_map(path, right_labels() + 1)
    assert check(folder, zero_is_ignored=True).notices == []
    labels = np.zeros((6, 8))
    labels[0] = 3
    write_map(folder / "maps/val/d.png", labels)
    notices = "\n".join(check(folder, zero_is_ignored=True).notices)
    assert "83% of all pixels have the label 0 or 255 and are ignored" in notices
    assert "2 classes have no pixel: road, car" in notices
    write_map(folder / "maps/val/d.png", np.full((6, 8), 4))
    with pytest.raises(DatasetError, match="has the label 4; allowed: 1 to 3 for road to sky, and 0 and 255, ignored"):
        check(folder, zero_is_ignored=True)
    with pytest.raises(ValueError, match="ignored is 254 beside zero_is_ignored; allowed: 255, or leave it out"):
        dataset(zero_is_ignored=True, ignored=254)


def test_runs_find_the_dataset_by_a_link(folder, tmp_path):
    link = tmp_path / "datasets/own"
    prepare(dataset(), link, folder, {}, None)
    assert (link / "maps/val/d.png").exists()


INSTANCES = {"map_ending": "_instances.png", "mean_pixels": {"car": 12.5}}
CATEGORIES = {"still": ["road", "sky"], "vehicle": ["car"]}


def check_with_instances(folder):
    return check(folder, categories=CATEGORIES, instances=INSTANCES)


@pytest.fixture
def with_instances(folder):
    """The folder with two cars in the map of the validation image."""
    labels = right_labels()
    ids = np.where(labels == 1, 26000, labels).astype(np.uint16)
    ids[3:][labels[3:] == 1] = 26001
    Image.fromarray(ids).save(folder / "maps/val/d_instances.png")
    return folder


def test_maps_of_instances_are_part_of_what_identifies_a_dataset(with_instances):
    checked = check_with_instances(with_instances)
    assert checked.identity.val.annotations == 1
    assert checked.notices == []
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(with_instances / "maps/val/d_instances.png")
    assert check_with_instances(with_instances).identity.val != checked.identity.val


def instances_of_another_image(path):
    Image.fromarray(np.zeros((8, 6), np.uint16)).save(path)


def instances_of_eight_bits(path):
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(path)


def instance_on_several_labels(path):
    Image.fromarray(np.full((6, 8), 26000, np.uint16)).save(path)


INSTANCE_FAULTS = {
    instances_of_another_image: r"map of instances d_instances\.png is 6 × 8 pixels large; allowed: 8 × 6 as d\.png",
    instances_of_eight_bits: r"map of instances d_instances\.png has the mode L; allowed: 16 bits",
    instance_on_several_labels: r"d_instances\.png has instance 26000 on the labels 0, 1, 2 of d\.png; allowed: one",
    lambda path: path.write_bytes(path.read_bytes()[:50]): r"map of instances d_instances\.png is damaged, or no image",
    lambda path: path.unlink(): r"map of instances d_instances\.png does not exist beside d\.png; unpack its archive again",
}


@pytest.mark.parametrize("damage", INSTANCE_FAULTS)
def test_a_fault_of_instances_is_one_sentence(damage, with_instances):
    damage(with_instances / "maps/val/d_instances.png")
    with pytest.raises(DatasetError, match=INSTANCE_FAULTS[damage]):
        check_with_instances(with_instances)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categories": {"still": ["road", "sky"]}}, "categories: found class car in 0 categories; allowed: each class in one"),
        ({"categories": {**CATEGORIES, "all": ["car"]}}, "found class car in 2 categories"),
        (
            {"categories": {**CATEGORIES, "sea": ["ship"]}},
            "categories: found 'ship'; allowed: names of classes: road, car, sky",
        ),
        ({"instances": INSTANCES}, "instances: found without categories"),
        (
            {"categories": CATEGORIES, "instances": {**INSTANCES, "mean_pixels": {"ship": 3}}},
            "instances.mean_pixels: found 'ship'; allowed: names of classes",
        ),
    ],
)
def test_groups_hold_classes(changes, words):
    with pytest.raises(ValueError, match=words):
        dataset(**changes)


def test_maps_of_instances_are_no_label_maps(with_instances):
    maps = dataset(categories=CATEGORIES, instances=INSTANCES).label_maps
    assert [path.name for path in maps.map_files(with_instances / "maps/val")] == ["d.png"]
    assert len(dataset().label_maps.map_files(with_instances / "maps/val")) == 2
