"""Training on real photos at full width: the proof that the data path is right."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from experiments.tasks.segments import id_to_rgb


@pytest.mark.slow
def test_training_lowers_the_loss_and_finds_more_than_an_untrained_model(project, tiny_coco):
    project.configure(scale="tiny_coco", data_root=str(tiny_coco))
    made = project.snakemake("reports/two_necks_table1.md")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())
    losses = [point["loss"] for point in trained["history"]]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.8 * sum(losses[:tenth])

    before = metrics_of_untrained(project, path.with_name("config.py"), "tiny_coco")
    assert trained["metrics"]["box_AP"] > before["box_AP"]
    assert trained["metrics"]["mask_AP"] > before["mask_AP"]


def metrics_of_untrained(project, config, scale):
    """The metrics of the same config without an epoch of training."""
    text = config.read_text()
    untrained = project / "untrained"
    untrained.mkdir()
    assert re.search(r"^train_cfg = .*max_epochs=", text, re.MULTILINE)
    without = re.sub(r"^(train_cfg = .*max_epochs=)\d+", r"\g<1>0", text, flags=re.MULTILINE)
    (untrained / "config.py").write_text(f"{without}\nwork_dir = {str(untrained / 'checkpoints')!r}\n")
    measured = project.python(
        "-m", "experiments.training.train", "--dataset", f"datasets/{scale}.json", "--log-file", "untrained/log",
        "untrained/config.py", "untrained/metrics.json",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    left = json.loads((untrained / "metrics.json").read_text())
    assert left["history"] == [], "no step was taken"
    return left["metrics"]


LABELLED = """\
base: demo
title: photos, things labelled
image_scale: [128, 128]
dataset:
  kind: label_maps
  classes: {classes}
  train_images: images/
  train_maps: maps/
  val_images: images/
  val_maps: maps/
schedules:
  1x: {{epochs: 40}}
"""


def write_label_maps(photos, folder):
    """Label maps of things, the rest background, from the masks of objects; overlapping ones in the order of the file."""
    truth = COCO(photos / "annotations/instances_train2017.json")
    labels = {category: label for label, category in enumerate(sorted(truth.cats))}
    (folder / "maps").mkdir(parents=True)
    (folder / "images").symlink_to(photos / "train2017")
    for identifier, image in truth.imgs.items():
        drawn = np.full((image["height"], image["width"]), len(labels), np.uint8)
        for entry in truth.imgToAnns[identifier]:
            drawn[truth.annToMask(entry) > 0] = labels[entry["category_id"]]
        Image.fromarray(drawn).save(folder / "maps" / Path(image["file_name"]).with_suffix(".png"))
    return [truth.cats[category]["name"] for category in labels] + ["background"]


@pytest.mark.slow
def test_photos_are_labelled_better_than_by_an_untrained_model(project, tiny_coco, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    classes = write_label_maps(tiny_coco, folder)
    (project / "experiments/scales/labelled.yaml").write_text(LABELLED.format(classes=json.dumps(classes)))
    project.configure(scale="labelled", data_root=str(folder), studies=["segmented"], rows=["FPN"])
    made = project.snakemake("reports/segmented_table1.md", "reports/figures/segmented_table1_ap.png")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())["metrics"]
    before = metrics_of_untrained(project, path.with_name("config.py"), "labelled")
    assert trained["mIoU"] > 2 * before["mIoU"]
    assert trained["pixel_accuracy"] > before["pixel_accuracy"]


SEGMENTED = """\
base: demo
title: photos, segmented
image_scale: [128, 128]
dataset:
  kind: coco
  train_annotations: annotations/instances_train2017.json
  train_images: train2017/
  val_annotations: annotations/instances_train2017.json
  val_images: train2017/
  segments:
    stuff: [background]
    train_annotations: panoptic.json
    train_maps: panoptic/
    val_annotations: panoptic.json
    val_maps: panoptic/
schedules:
  1x:
    epochs: 60
    param_scheduler: [{type: LinearLR, start_factor: 0.01, by_epoch: false, begin: 0, end: 30}]
"""


def write_segments(photos, folder):
    """Segments of things, the rest background, from the masks of objects; overlapping ones in the order of the file."""
    truth = COCO(photos / "annotations/instances_train2017.json")
    (folder / "panoptic").mkdir(parents=True)
    for name in ("annotations", "train2017"):
        (folder / name).symlink_to(photos / name)
    background = max(truth.cats) + 1
    entries = []
    for image, info in truth.imgs.items():
        objects = truth.imgToAnns[image]
        drawn = np.full((info["height"], info["width"]), len(objects) + 1)
        for number, entry in enumerate(objects, start=1):
            drawn[truth.annToMask(entry) > 0] = number
        segments = []
        for number in np.unique(drawn).tolist():
            entry = objects[number - 1] if number <= len(objects) else {"category_id": background, "iscrowd": 0}
            mask = np.asfortranarray(drawn == number, np.uint8)
            box, area = mask_api.toBbox(mask_api.encode(mask)).tolist(), int(mask.sum())
            kept = {key: entry[key] for key in ("category_id", "iscrowd")}
            segments.append({"id": number, **kept, "bbox": box, "area": area})
        name = str(Path(info["file_name"]).with_suffix(".png"))
        Image.fromarray(id_to_rgb(drawn)).save(folder / "panoptic" / name)
        entries.append({"image_id": image, "file_name": name, "segments_info": segments})
    things = [{"id": category, "name": named["name"], "isthing": 1} for category, named in sorted(truth.cats.items())]
    categories = [*things, {"id": background, "name": "background", "isthing": 0}]
    content = {"images": list(truth.imgs.values()), "annotations": entries, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_photos_are_segmented_better_than_by_an_untrained_model(project, tiny_coco, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    write_segments(tiny_coco, folder)
    (project / "experiments/scales/segmented.yaml").write_text(SEGMENTED)
    project.configure(scale="segmented", data_root=str(folder), studies=["segmented"], rows=["FPN"])
    made = project.snakemake("reports/segmented_table2.md", "reports/figures/segmented_table2_ap.png")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())["metrics"]
    before = metrics_of_untrained(project, path.with_name("config.py"), "segmented")
    assert trained["PQ"] > before["PQ"]
    assert trained["mIoU"] > before["mIoU"]
    assert trained["box_AP"] > before["box_AP"]
