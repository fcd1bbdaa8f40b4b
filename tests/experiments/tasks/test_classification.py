"""Classification: errors and their resamples, labels in the order of folders, transforms, what each scale's pipelines do."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmdet.utils import register_all_modules
from PIL import Image

from experiments.bootstrap.resamples import draw_weights
from experiments.configs.build import load_config
from experiments.configs.write import config_text
from experiments.spec.image_datasets import ImageFoldersDataset
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from experiments.tasks.breakdowns.classification import break_down
from experiments.tasks.task import load_task

TASK = load_task("classification")


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_all_modules()
    import experiments.tasks.labelled_images
    import experiments.tasks.seeded_albu  # noqa: F401


def run_of(setting, scale):
    return Run(load_study("aff").settings[setting], load_scale(scale), 0)


@pytest.fixture
def folder(tmp_path):
    for name, count in (("b", 2), ("a", 3)):
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(tmp_path / f"val/{name}/{number}.png")
    (tmp_path / "val/a/notes.txt").write_text("x")
    return tmp_path


def test_labels_are_those_of_the_folders_names_in_order(folder):
    dataset = DATASETS.build({"type": "LabelledImageFolders", "data_root": str(folder), "data_prefix": {"img_path": "val/"}})
    entries = [(entry["img_id"], entry["label"]) for entry in map(dataset.get_data_info, range(len(dataset)))]
    assert entries == [("a/0.png", 0), ("a/1.png", 0), ("a/2.png", 0), ("b/0.png", 1), ("b/1.png", 1)]


def predictions(random, images=40, classes=7):
    scores = torch.from_numpy(random.random((images, classes)))
    labels = random.integers(0, classes, images)
    samples = [
        {"img_id": f"{label}/{n:02d}.png", "label": torch.tensor(label), "scores": of_image}
        for n, (label, of_image) in enumerate(zip(labels, scores, strict=True))
    ]
    return samples, labels, scores.numpy()


def test_errors_are_the_shares_of_images_whose_label_is_not_among_the_best(tmp_path):
    samples, labels, scores = predictions(np.random.default_rng(0))
    metric = METRICS.build({"type": "TopErrors", "output": str(tmp_path / "p.json")})
    metric.process(None, samples)
    rank = (scores > scores[np.arange(40), labels][:, None]).sum(axis=1)
    found = metric.evaluate(40)
    assert found["classification/top1_error"] == pytest.approx(100 * (rank >= 1).mean())
    assert found["classification/top5_error"] == pytest.approx(100 * (rank >= 5).mean())
    measured = TASK.measure(None, found, tmp_path)
    assert measured["accuracy"] == pytest.approx(100 - measured["top1_error"])
    assert len(json.loads((tmp_path / "p.json").read_text())) == 40


def test_a_resample_counts_each_image_as_often_as_it_was_drawn(folder):
    images = [("a/0.png", 0, True), ("a/1.png", 0, False), ("a/2.png", 0, True), ("b/0.png", 1, True), ("b/1.png", 1, False)]
    entries = [{"image": name, "label": label, "best": [label if right else 1 - label]} for name, label, right in images]
    (folder / "predictions.json").write_text(json.dumps(entries[::-1]))
    found = break_down(folder / "predictions.json", folder / "val")
    weights = draw_weights([name for name, *_ in images])
    wrong = np.array([not right for *_, right in images])
    assert found.replicates["top1_error"] == pytest.approx(100 * (weights * wrong).sum(axis=1) / 5)
    assert found.replicates["accuracy"] == pytest.approx(100 - found.replicates["top1_error"])
    assert found.classes == {"a": {"accuracy": pytest.approx(200 / 3)}, "b": {"accuracy": pytest.approx(50)}}


def test_a_padded_crop_is_a_part_of_the_image_in_its_own_size():
    image = np.arange(1, 5 * 6 * 3 + 1, dtype=np.uint8).reshape(5, 6, 3)
    transform = TRANSFORMS.build({"type": "PaddedCrop", "padding": 2})
    np.random.seed(0)
    crops = [transform({"img": image})["img"] for _ in range(200)]
    assert {crop.shape for crop in crops} == {(5, 6, 3)}
    assert len({crop.tobytes() for crop in crops}) == 25, "each of five places down and across"
    assert any(np.array_equal(crop, image) for crop in crops)


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (64, 64), (30, 500)])
def test_the_middle_has_seven_eighths_of_the_shorter_side(size):
    image = np.zeros((*size, 3), np.uint8)
    height, width = size
    half = min(size) * 0.875 / 2
    rows, columns = np.mgrid[:height, :width]
    inside = (abs(rows + 0.5 - height / 2) < half) & (abs(columns + 0.5 - width / 2) < half)
    image[inside] = 255
    result = TRANSFORMS.build({"type": "MiddleCrop", "size": (56, 56)})({"img": image})
    assert result["img"].shape == (56, 56, 3)
    assert result["img"].mean() > 245


def steps(dataset):
    return [step["type"] for step in dataset["pipeline"]]


def test_each_scale_sees_its_images_as_its_recipe_says():
    drawn, cifar, imagenet = (
        run_of("cifar_add_1", "demo"),
        run_of("cifar_add_1", "cifar100"),
        run_of("aff_resnet50_240e", "imagenet"),
    )
    load, pack = "LoadImageFromFile", "PackLabelledImage"
    assert steps(TASK.train_dataset(drawn)) == [load, "RandomFlip", pack]
    assert steps(TASK.train_dataset(cifar)) == [load, "PaddedCrop", "RandomFlip", pack]
    assert steps(TASK.train_dataset(imagenet)) == [load, "SeededAlbu", pack]
    assert steps(TASK.test_dataset(drawn)) == steps(TASK.test_dataset(cifar)) == [load, pack]
    assert steps(TASK.test_dataset(imagenet)) == [load, "MiddleCrop", pack]
    assert "seeded_albu" in config_text(imagenet)
    assert "seeded_albu" not in config_text(cifar)


def test_a_classifier_is_sized_by_the_classes_of_its_dataset():
    demo, setting = load_scale("demo"), load_study("aff").settings["cifar_add_1"]
    leaves = demo.replace(dataset=ImageFoldersDataset(kind="image_folders", class_count=12))
    assert [load_config(Run(setting, scale, 0)).model.num_classes for scale in (demo, leaves)] == [6, 12]


@pytest.mark.arbiter
def test_imagenets_training_images_are_transformed_by_albumentations():
    pipeline = TASK.train_dataset(run_of("aff_resnet50_240e", "imagenet"))["pipeline"]
    np.random.seed(0)
    transform = TRANSFORMS.build(next(step for step in pipeline if step["type"] == "SeededAlbu"))
    image = np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)
    one, other = (transform({"img": image.copy(), "img_id": "x", "label": 3}) for _ in range(2))
    assert one["img"].shape == (224, 224, 3)
    assert (one["img"].dtype, one["label"], one["img_id"]) == (np.uint8, 3, "x")
    assert not np.array_equal(one["img"], other["img"])
