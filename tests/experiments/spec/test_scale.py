"""Scales: what one inherits from another, and the classes of its dataset."""

import re
from pathlib import Path

import pytest
import yaml

from experiments.errors import UserError
from experiments.spec.dataset_identity import CheckedDataset, DatasetIdentity, SplitIdentity, write_checked_dataset
from experiments.spec.known_classes import COCO_CLASSES
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting

OWN_DATASET = {
    "base": "tiny_coco",
    "title": "shelves",
    "dataset": {
        "kind": "coco",
        "train_annotations": "train.json",
        "train_images": "photos/",
        "val_annotations": "val.json",
        "val_images": "photos/",
        "classes": "annotations",
    },
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a scale beside those of the project; the working folder is a project's."""
    (tmp_path / "experiments").mkdir()
    folder = tmp_path / "experiments/scales"
    folder.mkdir()
    for path in Path("experiments/scales").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    (tmp_path / "experiments/tasks").symlink_to(Path("experiments/tasks").resolve())
    monkeypatch.chdir(tmp_path)
    return lambda name, content: (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_dataset_of_ones_own_takes_fifteen_lines(write):
    write("shelves", OWN_DATASET)
    assert len(Path("experiments/scales/shelves.yaml").read_text().splitlines()) <= 15
    scale, base = load_scale("shelves"), load_scale("tiny_coco")
    assert scale.dataset.train_annotations == "train.json"
    assert (scale.detectors, scale.backbones, scale.schedules) == (base.detectors, base.backbones, base.schedules)


def test_mappings_are_merged_and_lists_replaced(write):
    write("short", {"base": "demo", "title": "short", "schedules": {"1x": {"epochs": 1}}, "image_scale": [64, 64]})
    short, demo = load_scale("short"), load_scale("demo")
    assert short.schedules["1x"].epochs == 1
    assert short.schedules["1x"].param_scheduler == demo.schedules["1x"].param_scheduler
    assert short.schedules["20e"] == demo.schedules["20e"]
    assert short.image_scale == (64, 64)
    assert short.dataset == demo.dataset


def test_what_is_known_of_cocos_files_and_the_papers_setting_is_not_inherited(write):
    write("shelves", OWN_DATASET | {"base": "coco"})
    write("longer", {"base": "coco", "title": "longer"})
    shelves, longer, coco = (load_scale(name) for name in ("shelves", "longer", "coco"))
    assert coco.paper_setting
    assert coco.expected_splits
    assert (shelves.paper_setting, shelves.expected_splits, shelves.test_set) == (False, {}, None)
    assert (longer.paper_setting, longer.expected_splits) == (False, coco.expected_splits)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"base": "own"}, "own.yaml: base: own inherits from itself"),
        ({"base": "nowhere"}, r"nowhere.yaml does not exist; there are: .*demo"),
        ({"base": ["demo"]}, "own.yaml: base: expected the name of a scale, found \\['demo'\\]"),
        ({"base": "demo", "epoch": 3}, "own.yaml: unknown key 'epoch'; allowed: name, base, title"),
    ],
)
def test_a_wrong_base_is_one_sentence(write, content, words):
    write("own", content)
    with pytest.raises(UserError, match=words):
        load_scale("own")


def test_two_scales_that_inherit_from_each_other_are_one_sentence(write):
    write("one", {"base": "other"})
    write("other", {"base": "one"})
    with pytest.raises(UserError, match="inherits from itself"):
        load_scale("one")


def test_classes_are_cocos_the_scales_or_those_that_were_read_from_the_annotations(write):
    assert load_scale("tiny_coco").classes == list(COCO_CLASSES)
    assert load_scale("demo").classes[0] == "disc"
    write("listed", OWN_DATASET | {"dataset": OWN_DATASET["dataset"] | {"classes": ["box", "can"]}})
    assert load_scale("listed").classes == ["box", "can"]
    write("shelves", OWN_DATASET)
    with pytest.raises(UserError, match=r"have not been read yet: run snakemake datasets/shelves.json first"):
        _ = load_scale("shelves").classes
    Path("datasets").mkdir()
    split = SplitIdentity(annotations_sha256="0" * 64, images=2, annotations=5)
    identity = DatasetIdentity(train=split, val=split, classes=["can", "box"])
    write_checked_dataset(Path("datasets/shelves.json"), CheckedDataset(identity=identity))
    assert load_scale("shelves").classes == ["can", "box"]
    identity = identity.model_copy(update={"classes": None})
    write_checked_dataset(Path("datasets/shelves.json"), CheckedDataset(identity=identity))
    with pytest.raises(UserError, match=r"datasets/shelves.json holds no classes"):
        _ = load_scale("shelves").classes


def test_a_vector_width_beside_gpus_is_refused(write):
    write("wide", {"base": "demo", "title": "wide", "resources": {"gpus": 2, "vector_width": 256}})
    with pytest.raises(UserError, match=r"wide\.yaml.*vector_width is for trainings on the CPU, but gpus is 2"):
        load_scale("wide")


@pytest.mark.parametrize("option", [{"tf32": "all"}, {"cudnn_benchmark": True}])
def test_the_arithmetic_of_gpus_without_gpus_is_refused_by_name(write, option):
    write("fast", {"base": "demo", "title": "fast", "training": option})
    with pytest.raises(UserError, match=rf"fast\.yaml.*training: {next(iter(option))}: for trainings on GPUs"):
        load_scale("fast")
    write("fast", {"base": "demo", "title": "fast", "training": option, "resources": {"gpus": 1}})
    assert load_scale("fast").training.of_gpus == list(option)


def test_what_repeats_does_not_choose_by_time(write):
    write("both", {"base": "coco", "title": "both", "training": {"deterministic": True, "cudnn_benchmark": True}})
    with pytest.raises(UserError, match="deterministic and cudnn_benchmark exclude each other"):
        load_scale("both")


def test_a_vector_width_changes_no_run_id(write):
    write("same", {"base": "demo", "title": "same", "resources": {"vector_width": 256}})
    setting = Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone="resnet50", schedule="1x")
    same, demo = (Run(setting, load_scale(name), 0) for name in ("same", "demo"))
    assert same.id == demo.id


def test_a_server_of_label_maps_has_an_id_for_each_class(write):
    write("streets", {"base": "cityscapes", "title": "streets", "test_set": {"class_ids": [7, 8]}})
    with pytest.raises(UserError, match="test_set: class_ids: found 2; allowed: 19, one for each class"):
        load_scale("streets")
    write("streets", {"base": "tiny_coco", "title": "streets", "test_set": {"images": "a/", "count": 3, "class_ids": [7]}})
    with pytest.raises(UserError, match="found for a dataset without label maps; allowed: name, image_info, images"):
        load_scale("streets")


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("experiments/scales").glob("*.yaml")))
def test_every_schedule_says_how_long_it_is(name):
    for schedule in load_scale(name).schedules.values():
        assert re.fullmatch(r"[1-9][\d,]* (epoch|iteration)s?", schedule.length_in_words)
