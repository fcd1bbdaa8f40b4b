"""Datasets in other formats are converted once, the same each time, linked, and checked like COCO's."""

import json
import re

import pytest

from experiments.data.findings import DatasetError
from experiments.data.prepare import check_dataset, prepare_dataset
from experiments.errors import UserError
from experiments.spec.converted_datasets import VisDroneDataset, VocDataset
from experiments.spec.datasets import ExpectedSplit
from experiments.spec.known_classes import VOC_CLASSES
from experiments.spec.scale import load_scale
from tests.conftest import SHAPES
from tests.experiments.data.other_formats import write_visdrone, write_voc

VOC = VocDataset(
    kind="voc",
    train={"VOC2007": "trainval", "more/VOC2012": "trainval"},
    val={"VOC2007": "test"},
    classes=[*SHAPES.classes],
)
VISDRONE = VisDroneDataset(kind="visdrone", train="VisDrone2019-DET-train", val="VisDrone2019-DET-val")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Drawn shapes, and their annotations with a crowd in each split."""
    folder = tmp_path_factory.mktemp("drawn")
    prepare_dataset(SHAPES, folder, None)
    contents = {}
    for split in ("train", "val"):
        contents[split] = json.loads((folder / f"annotations/{split}.json").read_text())
        contents[split]["annotations"][0]["iscrowd"] = 1
    return folder, contents


@pytest.fixture
def voc(drawn, tmp_path):
    folder, contents = drawn
    root = tmp_path / "voc"
    write_voc(contents["train"], folder / "train", root / "VOC2007", "trainval")
    write_voc(contents["val"], folder / "val", root / "more/VOC2012", "trainval")
    write_voc(contents["val"], folder / "val", root / "VOC2007", "test")
    # A photo may not be in both splits.
    for path in (root / "more/VOC2012/JPEGImages").iterdir():
        path.write_bytes((folder / f"train/{path.name.removeprefix('trainval_')}").read_bytes() + b"\0")
    return root


@pytest.fixture
def visdrone(drawn, tmp_path):
    folder, contents = drawn
    for split in ("train", "val"):
        write_visdrone(contents[split], folder / split, tmp_path / f"root/VisDrone2019-DET-{split}")
    return tmp_path / "root"


def read(folder, split):
    return json.loads((folder / f"annotations/{split}.json").read_text())


def test_voc_learns_from_difficult_objects_and_does_not_measure_them(voc, tmp_path):
    folder = tmp_path / "datasets/voc"
    checked = prepare_dataset(VOC, folder, voc)
    train, val = read(folder, "train"), read(folder, "val")
    assert checked.identity.train.images == len(train["images"]) == SHAPES.train_count + SHAPES.val_count
    assert not any(entry["iscrowd"] for entry in train["annotations"])
    assert sum(entry["iscrowd"] for entry in val["annotations"]) == 1
    names = [image["file_name"] for image in train["images"]]
    assert names[0].startswith("VOC2007/JPEGImages/")
    assert names[-1].startswith("more/VOC2012/JPEGImages/")
    assert all((folder / "images" / name).is_file() for name in names)
    assert [category["name"] for category in val["categories"]] == SHAPES.classes


def test_visdrone_drops_ignored_regions_in_training_and_measures_around_them(visdrone, tmp_path):
    folder = tmp_path / "datasets/visdrone"
    prepare_dataset(VISDRONE, folder, visdrone)
    assert not any(entry["iscrowd"] for entry in read(folder, "train")["annotations"])
    crowds = [entry["category_id"] for entry in read(folder, "val")["annotations"] if entry["iscrowd"]]
    assert crowds == list(range(1, 11))
    assert all((folder / "images" / image["file_name"]).is_file() for image in read(folder, "val")["images"])


@pytest.mark.parametrize(("dataset", "name"), [(VOC, "voc"), (VISDRONE, "visdrone")])
def test_a_conversion_repeats_itself_and_a_check_leaves_nothing_behind(dataset, name, tmp_path, request):
    root = request.getfixturevalue(name)
    before = sorted(root.rglob("*"))
    first = prepare_dataset(dataset, tmp_path / "one", root)
    bytes_of = {split: (tmp_path / f"one/annotations/{split}.json").read_bytes() for split in ("train", "val")}
    again = prepare_dataset(dataset, tmp_path / "one", root)
    assert first.identity == again.identity == check_dataset(dataset, root, {}).identity
    assert bytes_of == {split: (tmp_path / f"one/annotations/{split}.json").read_bytes() for split in ("train", "val")}
    assert sorted(root.rglob("*")) == before


def test_a_moved_data_root_has_the_same_identity(voc, tmp_path):
    before = prepare_dataset(VOC, tmp_path / "datasets/voc", voc).identity
    moved = voc.rename(tmp_path / "moved")
    assert prepare_dataset(VOC, tmp_path / "datasets/voc", moved).identity == before
    assert (tmp_path / "datasets/voc/images").resolve() == moved


def test_a_folder_that_was_a_link_becomes_a_folder_and_what_it_led_to_stays(voc, tmp_path):
    folder = tmp_path / "datasets/voc"
    folder.parent.mkdir()
    folder.symlink_to(voc)
    prepare_dataset(VOC, folder, voc)
    assert not folder.is_symlink()
    assert not (voc / "annotations").exists()


def test_images_that_are_no_link_are_not_replaced(voc, tmp_path):
    (tmp_path / "datasets/voc/images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"images is a folder where a link to .* is wanted; move it"):
        prepare_dataset(VOC, tmp_path / "datasets/voc", voc)


def test_a_list_with_too_few_images_is_incomplete(voc, tmp_path):
    expected = {"train": ExpectedSplit(images=16551), "val": ExpectedSplit(images=SHAPES.val_count)}
    with pytest.raises(UserError, match=r"train\.json .* names \d+ images, not 16551: unpack its archive again"):
        prepare_dataset(VOC, tmp_path / "datasets/voc", voc, expected)
    expected["train"] = ExpectedSplit(images=SHAPES.train_count + SHAPES.val_count)
    assert prepare_dataset(VOC, tmp_path / "datasets/voc", voc, expected)


FAULTS = {
    "missing list": (
        lambda root: (root / "VOC2007/ImageSets/Main/test.txt").unlink(),
        "test.txt: does not exist; allowed: trainval",
    ),
    "missing year": (lambda root: (root / "more/VOC2012").rename(root / "more/VOC2011"), "VOC2012"),
    "another class": (
        lambda root: next((root / "VOC2007/Annotations").glob("test_*.xml")).write_text(
            "<annotation><object><name>tree</name></object></annotation>"
        ),
        "object 1: name is 'tree'; allowed: disc, ",
    ),
    "broken image": (
        lambda root: next((root / "VOC2007/JPEGImages").glob("test_*")).write_bytes(b"no image"),
        "is not an image that can be read",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_missing_or_wrong_is_named(fault, voc, tmp_path):
    damage, sentence = FAULTS[fault]
    damage(voc)
    with pytest.raises(UserError) as error:
        prepare_dataset(VOC, tmp_path / "datasets/voc", voc)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_box_that_is_wrong_in_its_image_is_named_where_it_was_read(voc, visdrone, tmp_path):
    file = next((voc / "VOC2007/Annotations").glob("test_*.xml"))
    file.write_text(re.sub("<xmax>.*?</xmax>", "<xmax>900</xmax>", file.read_text()))
    with pytest.raises(DatasetError) as error:
        prepare_dataset(VOC, tmp_path / "datasets/voc", voc)
    assert str(error.value).startswith(f"{file}: object 1: area: is ")
    assert all(line.startswith(f"{file}: object ") for line in error.value.lines if ": area: " in line)

    file = next((visdrone / "VisDrone2019-DET-train/annotations").iterdir())
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "700,700,9,9,1,1,0,0"]))
    with pytest.raises(DatasetError) as error:
        prepare_dataset(VISDRONE, tmp_path / "datasets/visdrone", visdrone)
    assert str(error.value).startswith(f"{file}: line {len(lines) + 1}: bbox: is [700.0, 700.0, 9.0, 9.0] lies outside")


def test_a_missing_split_of_visdrone_is_named(visdrone, tmp_path):
    (visdrone / "VisDrone2019-DET-val").rename(visdrone / "val")
    with pytest.raises(UserError, match=r"VisDrone2019-DET-val/annotations: holds no \.txt files"):
        prepare_dataset(VISDRONE, tmp_path / "datasets/visdrone", visdrone)


def test_papers_scales_have_the_papers_datasets():
    voc, visdrone = load_scale("voc"), load_scale("visdrone")
    assert voc.classes == list(VOC_CLASSES)
    assert len(voc.classes) == 20
    assert len(visdrone.classes) == 10
    assert [split.images for split in voc.expected_splits.values()] == [5_011 + 11_540, 4_952]
    assert not voc.dataset.measures_training_images
    assert "VOC2007 trainval and VOC2012 trainval" in voc.dataset.description
