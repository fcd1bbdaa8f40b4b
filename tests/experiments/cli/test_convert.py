"""Converted annotations are right for the gate, and say of each object what the other format says."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.cli import convert
from experiments.data.prepare import check_dataset
from experiments.errors import UserError
from experiments.spec.datasets import CocoDataset

XML = "<annotation><filename>a.jpg</filename><size><width>0</width></size>{}</annotation>"
OBJECT = """<object><name>{}</name><difficult>{}</difficult>
  <bndbox><xmax>{}</xmax><ymax>{}</ymax><xmin>{}</xmin><ymin>{}</ymin></bndbox>
  <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part></object>"""


def write_image(path, width=60, height=40, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def converted(*arguments):
    parser = ArgumentParser()
    convert.add_arguments(parser)
    convert.main(None, parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def voc(tmp_path):
    """Two years: of the first two images, one of them without objects; a test split of one image."""
    for seed, name in enumerate(
        ("VOC2007/JPEGImages/b", "VOC2007/JPEGImages/a", "VOC2012/JPEGImages/a", "VOC2007/JPEGImages/t")
    ):
        write_image(tmp_path / f"{name}.jpg", seed=seed)
    write(tmp_path / "VOC2007/ImageSets/Main/trainval.txt", "b\na  1\n\n")
    write(tmp_path / "VOC2012/ImageSets/Main/trainval.txt", "a\n")
    write(tmp_path / "VOC2007/ImageSets/Main/test.txt", "t\n")
    person, dog = OBJECT.format("person", 0, 30, 20, 11, 5), OBJECT.format("dog", 1, 60, 40, "1.0", 1)
    write(tmp_path / "VOC2007/Annotations/a.xml", XML.format(person + dog))
    write(tmp_path / "VOC2007/Annotations/b.xml", XML.format(""))
    write(tmp_path / "VOC2012/Annotations/a.xml", XML.format(dog))
    write(tmp_path / "VOC2007/Annotations/t.xml", XML.format(person))
    return tmp_path


def test_voc_names_images_by_their_year_and_ignores_difficult_objects(voc, capsys):
    converted("voc", voc / "VOC2007", voc / "VOC2012", "--split", "trainval", "--output", voc / "train.json")
    content = json.loads((voc / "train.json").read_text())
    names = ["VOC2007/JPEGImages/b.jpg", "VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/a.jpg"]
    assert [image["file_name"] for image in content["images"]] == names
    assert {(image["width"], image["height"]) for image in content["images"]} == {(60, 40)}
    person, dog, other = content["annotations"]
    assert (person["image_id"], person["category_id"], person["bbox"], person["iscrowd"]) == (2, 15, [10, 4, 20, 16], 0)
    assert (dog["image_id"], dog["category_id"], dog["bbox"], dog["iscrowd"]) == (2, 12, [0, 0, 60, 40], 1)
    assert (other["image_id"], person["area"]) == (3, 320)
    assert "3 images with 1 objects of 20 classes, and 2 that are ignored" in capsys.readouterr().out


def test_voc_may_learn_from_difficult_objects_and_have_other_classes(voc):
    write(voc / "names.txt", "dog\nperson\n")
    arguments = ("--split", "trainval", "--learn-difficult", "--classes", voc / "names.txt")
    converted("voc", voc / "VOC2007", *arguments, "--output", voc / "train.json")
    content = json.loads((voc / "train.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["dog", "person"]
    assert [(a["category_id"], a["iscrowd"]) for a in content["annotations"]] == [(2, 0), (1, 0)]


VISDRONE = """5,6,10,8,1,4,0,0
0,0,20,20,0,0,0,0,
30,10,5,6,0,1,0,1
40,10,5,6,1,11,0,1
50,10,0,6,1,4,0,1
"""


@pytest.fixture
def visdrone(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    write_image(tmp_path / "images/b.jpg", seed=1)
    write(tmp_path / "annotations/a.txt", VISDRONE)
    write(tmp_path / "annotations/b.txt", "")
    return tmp_path


def test_visdrones_ignored_regions_are_ignored_in_every_class(visdrone, capsys):
    converted("visdrone", visdrone, "--output", visdrone / "val.json")
    content = json.loads((visdrone / "val.json").read_text())
    car = next(a for a in content["annotations"] if not a["iscrowd"])
    assert (car["category_id"], car["bbox"], content["categories"][3]["name"]) == (4, [5, 6, 10, 8], "car")
    ignored = [(a["category_id"], a["bbox"][0]) for a in content["annotations"] if a["iscrowd"]]
    assert sorted(ignored) == sorted([(label, x) for label in range(1, 11) for x in (0, 40)] + [(1, 30)])
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.jpg"]
    assert "1 objects without width or height are left out" in capsys.readouterr().out


def test_visdrones_ignored_regions_may_be_dropped(visdrone):
    converted("visdrone", visdrone, "--drop-ignored", "--output", visdrone / "train.json")
    assert len(json.loads((visdrone / "train.json").read_text())["annotations"]) == 1


@pytest.fixture
def yolo(tmp_path):
    write_image(tmp_path / "images/train/x/a.jpg")
    write_image(tmp_path / "images/train/b.png", seed=1)
    write(tmp_path / "labels/train/x/a.txt", "1 0.5 0.5 0.5 0.25\n0 0.1 0.1 0.6 0.1 0.6 0.6\n")
    write(tmp_path / "data.yaml", yaml.safe_dump({"nc": 2, "names": {1: "cup", 0: "pen"}}))
    return tmp_path


def of_yolo(folder, *arguments):
    options = ("--classes", folder / "data.yaml", "--output", folder / "train.json", *arguments)
    converted("yolo", folder / "images/train", folder / "labels/train", *options)
    return json.loads((folder / "train.json").read_text())


def test_yolos_shares_become_pixels_and_its_outlines_masks(yolo):
    content = of_yolo(yolo)
    assert [image["file_name"] for image in content["images"]] == ["b.png", "x/a.jpg"]
    box, outline = content["annotations"]
    assert (box["image_id"], box["category_id"], box["bbox"], "segmentation" in box) == (2, 2, [15, 15, 30, 10], False)
    assert outline["bbox"] == pytest.approx([6, 4, 30, 20])
    assert outline["area"] == pytest.approx(300)
    assert outline["segmentation"] == [pytest.approx([6, 4, 36, 4, 36, 24])]
    assert [category["name"] for category in content["categories"]] == ["pen", "cup"]


def test_what_is_converted_passes_the_gate(voc):
    for split in ("trainval", "test"):
        converted("voc", voc / "VOC2007", "--split", split, "--output", voc / f"{split}.json")
    dataset = CocoDataset(
        kind="coco", train_annotations="trainval.json", train_images=".", val_annotations="test.json", val_images=".",
        classes="annotations",
    )  # fmt: skip
    checked = check_dataset(dataset, voc, {}, None)
    assert (checked.identity.train.images, checked.identity.train.annotations, checked.identity.val.images) == (2, 2, 1)


def test_boxes_that_leave_their_image_are_said(yolo, capsys):
    (yolo / "labels/train/x/a.txt").write_text("1 0.5 0.5 0.5 0.5\n0 0.9 0.5 0.4 0.2\n")
    of_yolo(yolo)
    assert "train.json: notice: 1 boxes leave their image by more than a pixel; they are clipped" in capsys.readouterr().out


def test_what_no_training_would_accept_is_refused_where_it_stands_and_nothing_is_written(voc, capsys):
    beyond = "".join(OBJECT.format("dog", 0, 90 + number, 20, 70, 5) for number in range(2))
    write(voc / "VOC2007/Annotations/a.xml", XML.format(beyond))
    with pytest.raises(UserError, match=r"Annotations/a.xml: object 1: bbox: is \[69"):
        converted("voc", voc / "VOC2007", "--split", "trainval", "--output", voc / "trainval.json")
    assert "Annotations/a.xml: object 2: bbox: is [69" in capsys.readouterr().out
    assert not (voc / "trainval.json").exists()


def test_photos_that_are_turned_have_the_size_that_is_seen(yolo):
    turned = Image.Exif()
    turned[0x0112] = 6
    path = yolo / "images/train/x/a.jpg"
    Image.open(path).save(path, exif=turned)
    image = of_yolo(yolo)["images"][1]
    assert (image["width"], image["height"]) == (40, 60)


def test_nothing_is_overwritten(yolo):
    of_yolo(yolo)
    with pytest.raises(UserError, match=r"train.json: exists; remove it"):
        of_yolo(yolo)


VOC_FAULTS = {
    "no list": ("VOC2007/ImageSets/Main/trainval.txt", None, r"trainval.txt: does not exist; allowed: test"),
    "empty list": ("VOC2007/ImageSets/Main/trainval.txt", "\n", "names no image"),
    "twice": ("VOC2007/ImageSets/Main/trainval.txt", "a\na\n", "names image a 2 times; allowed: once"),
    "no file": ("VOC2007/Annotations/a.xml", None, r"a.xml: does not exist, and a list names the image"),
    "no image": ("VOC2007/JPEGImages/a.jpg", None, r"a.jpg: the image does not exist"),
    "broken image": ("VOC2007/JPEGImages/a.jpg", "x", r"a.jpg: is not an image that can be read"),
    "no XML": ("VOC2007/Annotations/a.xml", "<annotation>", r"a.xml: is not XML that can be read: no element found"),
    "encoding": ("VOC2007/Annotations/a.xml", '<?xml version="1.0" encoding="GBK"?><a/>', "read: multi-byte encodings"),
    "no encoding": ("VOC2007/Annotations/a.xml", '<?xml version="1.0" encoding="foo"?><a/>', "read: unknown encoding: foo"),
    "class": (
        "VOC2007/Annotations/a.xml",
        XML.format(OBJECT.format("elk", 0, 9, 9, 1, 1)),
        "name is 'elk'; allowed: aero",
    ),
    "difficult": ("VOC2007/Annotations/a.xml", XML.format(OBJECT.format("dog", "no", 9, 9, 1, 1)), "difficult is 'no'"),
    "number": ("VOC2007/Annotations/a.xml", XML.format(OBJECT.format("dog", 0, "", 9, 1, 1)), "allowed: four numbers"),
    "nan": (
        "VOC2007/Annotations/a.xml",
        XML.format(OBJECT.format("dog", 0, "nan", 9, 1, 1)),
        "1: bndbox is from 1, 1 to nan",
    ),
    "corners": ("VOC2007/Annotations/a.xml", XML.format(OBJECT.format("dog", 0, 1, 1, 9, 9)), "xmin below xmax"),
    "no box": ("VOC2007/Annotations/a.xml", XML.format("<object><name>dog</name></object>"), "'xmin': None.*four numbers"),
}


@pytest.mark.parametrize("fault", VOC_FAULTS)
def test_a_fault_of_voc_is_one_sentence(voc, fault):
    file, text, words = VOC_FAULTS[fault]
    (voc / file).unlink()
    if text is not None:
        (voc / file).write_text(text)
    with pytest.raises(UserError, match=words):
        converted("voc", voc / "VOC2007", "--split", "trainval", "--output", voc / "train.json")
    assert not (voc / "train.json").exists()


def test_years_of_voc_lie_side_by_side(voc):
    (voc / "VOC2012").rename(voc / "VOC2007/VOC2012")
    with pytest.raises(UserError, match="lie in several folders; allowed: folders side by side"):
        converted("voc", voc / "VOC2007", voc / "VOC2007/VOC2012", "--split", "trainval", "--output", voc / "train.json")


VISDRONE_FAULTS = {
    "9 fields": ("1,2,3,4,1,1,0,0,7", "line 1: has 9 fields; allowed: x, y, width, height, score"),
    "7 fields": ("1,2,3,4,1,1,0", "line 1: has 7 fields"),
    "text": ("\n1,2,3,4,1,car,0,0", "line 2: is 1,2,3,4,1,car,0,0; allowed: whole numbers"),
    "category": ("1,2,3,4,1,12,0,0", "category is 12; allowed: 0 to 11"),
    "negative": ("1,2,-3,4,1,1,0,0", "width and height are -3 and 4; allowed: at least 0"),
}


@pytest.mark.parametrize("fault", VISDRONE_FAULTS)
def test_a_fault_of_visdrone_is_one_sentence(visdrone, fault):
    text, words = VISDRONE_FAULTS[fault]
    (visdrone / "annotations/b.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        converted("visdrone", visdrone, "--output", visdrone / "val.json")


def test_a_folder_without_annotations_of_visdrone_is_named(tmp_path):
    with pytest.raises(UserError, match=r"annotations: holds no .txt files"):
        converted("visdrone", tmp_path, "--output", tmp_path / "val.json")


YOLO_FAULTS = {
    "class": ("labels/train/x/a.txt", "2 0.5 0.5 0.5 0.5", "line 1: class is '2'; allowed: 0 to 1"),
    "name": ("labels/train/x/a.txt", "cup 0.5 0.5 0.5 0.5", "class is 'cup'"),
    "score": ("labels/train/x/a.txt", "1 0.5 0.5 0.5 0.5 0.9", "has 6 fields"),
    "pixels": ("labels/train/x/a.txt", "1 30 20 10 10", "has 30; allowed: shares of the image's sides, from 0 to 1"),
    "nan": ("labels/train/x/a.txt", "1 nan 0.5 0.5 0.5", "has nan; allowed: shares"),
    "text": ("labels/train/x/a.txt", "1 x 0.5 0.5 0.5", "is x 0.5 0.5 0.5 after the class; allowed: numbers"),
    "flat": ("labels/train/x/a.txt", "1 0.5 0.5 0.5 0", "no width or no height; allowed: above 0"),
    "no image": ("labels/train/c.txt", "1 0.5 0.5 0.5 0.5", r"labels/train/c.txt: has no image in .* as 1 of 2 have none"),
    "no names": ("data.yaml", "nc: 3", "names no classes"),
    "left out": ("data.yaml", "names: {0: a, 2: b}", "names has no class 1; allowed: numbers from 0, none left out"),
    "twice": ("data.yaml", "names: [a, a]", "names class a 2 times; allowed: once"),
    "no YAML": ("data.yaml", "names: [", "is not YAML"),
    "no list": ("data.yaml", "names: cup", "names is 'cup'; allowed: a list, or a mapping from numbers"),
    "no name": ("data.yaml", "names: [cup, '', pen]", "class 1 has no name; allowed: a name for each, counted from 0"),
    "nothing": ("data.yaml", "names: {0: cup, 1: }", "class 1 has no name"),
    "power": ("labels/train/x/a.txt", "\N{SUPERSCRIPT TWO} 0.5 0.5 0.5 0.5", "class is '²'; allowed: 0 to 1"),
}


@pytest.mark.parametrize("fault", YOLO_FAULTS)
def test_a_fault_of_yolo_is_one_sentence(yolo, fault):
    file, text, words = YOLO_FAULTS[fault]
    (yolo / file).write_text(text)
    with pytest.raises(UserError, match=words):
        of_yolo(yolo)


def test_a_line_without_a_name_moves_no_class(yolo):
    (yolo / "names.txt").write_text("pen\n\ncup\n")
    with pytest.raises(UserError, match=r"names.txt: class 1 has no name; allowed: a name for each, counted from 0"):
        of_yolo(yolo, "--classes", yolo / "names.txt")
    (yolo / "names.txt").write_text("pen\ncup\n\n")
    assert [category["name"] for category in of_yolo(yolo, "--classes", yolo / "names.txt")["categories"]] == ["pen", "cup"]


def test_photos_of_voc_may_end_in_capitals(voc):
    (voc / "VOC2007/JPEGImages/b.jpg").rename(voc / "VOC2007/JPEGImages/b.JPG")
    converted("voc", voc / "VOC2007", "--split", "trainval", "--output", voc / "train.json")
    assert json.loads((voc / "train.json").read_text())["images"][0]["file_name"] == "VOC2007/JPEGImages/b.JPG"


FILES = {
    "voc": ("VOC2007/Annotations/a.xml", "VOC2007/ImageSets/Main/trainval.txt", "names.txt"),
    "visdrone": ("annotations/a.txt",),
    "yolo": ("labels/train/x/a.txt", "data.yaml", "names.txt"),
}
# What such files are made of, and what is like it but is not.
WORDS = st.sampled_from(
    [
        *'0²٣,<>/[]{}:&é"\n\0\ufeff',
        *("-1", "1.5", "nan", "1e999", "1_0", '<?xml version="1.0" encoding="Big5"?>', "<part>"),
        *("difficult", "names", "- ", "!!python/none", "*a"),
    ]
)


@pytest.fixture(scope="module")
def right_folders(tmp_path_factory):
    """A folder of each format; `names.txt` names classes."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FILES}
    for year in ("VOC2007", "VOC2012"):
        write_image(folders["voc"] / f"{year}/JPEGImages/a.jpg")
    write(folders["voc"] / "VOC2007/ImageSets/Main/trainval.txt", "a 1\n")
    write(folders["voc"] / "VOC2007/Annotations/a.xml", XML.format(OBJECT.format("person", 0, 30, 20, 11, 5)))
    write(folders["voc"] / "names.txt", "dog\nperson\n")
    write_image(folders["visdrone"] / "images/a.jpg")
    write(folders["visdrone"] / "annotations/a.txt", VISDRONE)
    write_image(folders["yolo"] / "images/train/x/a.jpg")
    write(folders["yolo"] / "labels/train/x/a.txt", "1 0.5 0.5 0.5 0.25\n0 0.1 0.1 0.6 0.1 0.6 0.6\n")
    write(folders["yolo"] / "data.yaml", "nc: 2\nnames: {1: cup, 0: pen}\n")
    write(folders["yolo"] / "names.txt", "pen\ncup\n")
    return folders


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_file_says_is_converted_or_is_one_sentence(right_folders, data):
    kind, file = data.draw(st.sampled_from([(kind, file) for kind, files in FILES.items() for file in files]))
    folder = right_folders[kind]
    names = folder / ("names.txt" if file == "names.txt" or kind == "voc" else "data.yaml")
    arguments = {
        "voc": ("voc", folder / "VOC2007", "--split", "trainval", "--classes", names),
        "visdrone": ("visdrone", folder),
        "yolo": ("yolo", folder / "images/train", folder / "labels/train", "--classes", names),
    }[kind]
    right = (folder / file).read_bytes()
    start = data.draw(st.integers(0, len(right)))
    end = data.draw(st.integers(start, min(len(right), start + 12)))
    put = data.draw(st.one_of(st.lists(WORDS, max_size=4).map("".join).map(str.encode), st.binary(max_size=4)))
    output = folder / "output.json"
    (folder / file).write_bytes(right[:start] + put + right[end:])
    output.unlink(missing_ok=True)
    refused = None
    try:
        converted(*arguments, "--output", output)
    except UserError as error:
        refused = str(error)
    finally:
        (folder / file).write_bytes(right)
    if refused:
        assert "\n" not in refused
        assert not output.exists()
    else:
        boxes = [entry["bbox"] for entry in json.loads(output.read_text())["annotations"]]
        assert np.isfinite(boxes).all()


def test_what_is_no_text_is_named(yolo):
    (yolo / "labels/train/x/a.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(UserError, match=r"a.txt: is no text in UTF-8"):
        of_yolo(yolo)


def test_folders_that_hold_nothing_are_named(yolo, tmp_path):
    (tmp_path / "empty").mkdir()
    options = ("--classes", yolo / "data.yaml", "--output", yolo / "train.json")
    with pytest.raises(UserError, match=r"empty: holds no images; allowed: .jpg, .jpeg, .png"):
        converted("yolo", tmp_path / "empty", yolo / "labels", *options)
    with pytest.raises(UserError, match="empty: holds no files of labels"):
        converted("yolo", yolo / "images", tmp_path / "empty", *options)
