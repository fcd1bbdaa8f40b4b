"""A dataset of one's own: any classes, one file of at most 15 lines."""

import json

import pytest
import yaml

from experiments.data.prepare import prepare_dataset
from experiments.spec.metrics import PROTOCOLS
from tests.conftest import SHAPES
from tests.experiments.data.other_formats import write_visdrone, write_voc

pytestmark = pytest.mark.long

SCALE = """\
base: instant
title: shelves
dataset:
  kind: coco
  train_annotations: annotations/train.json
  train_images: train/
  val_annotations: annotations/val.json
  val_images: val/
  classes: annotations
"""


def test_a_dataset_with_other_classes_is_trained_and_measured(project, tmp_path_factory):
    photos = tmp_path_factory.mktemp("photos")
    prepare_dataset(SHAPES.replace(classes=["disc", "star", "cross"]), photos, None)
    (project / "experiments/scales/shelves.yaml").write_text(SCALE)
    assert len(SCALE.splitlines()) <= 15
    project.configure(scale="shelves", data_root=str(photos))
    made = project.snakemake("reports/two_necks_table1.md")
    assert made.returncode == 0, made.stderr
    assert json.loads((project / "datasets/shelves.json").read_text())["classes"] == ["disc", "star", "cross"]
    (path,) = project.folder.glob("runs/*/metrics.json")
    assert json.loads(path.read_text())["metrics"]["box_AP"] is not None
    config = path.with_name("config.py").read_text()
    model = config[config.index("\nmodel = ") :]
    assert "num_classes=3" in model
    assert "num_classes=6" not in model
    assert '"disc", "star", "cross"' in config

    # The order of the classes decides their labels.
    annotations = photos / "annotations/val.json"
    content = json.loads(annotations.read_text())
    content["categories"].reverse()
    annotations.write_text(json.dumps(content))
    (project / "datasets/shelves.json").unlink()
    path.unlink()
    refused = project.snakemake(str(path.relative_to(project.folder)))
    text = refused.stdout + refused.stderr
    assert "val.json: categories[0]: is 'cross'; allowed: the order of the scale's classes, or of the training split's" in text
    assert not path.exists()


OTHER_FORMATS = {
    "voc": {"train": {"VOC2007": "train"}, "val": {"VOC2007": "val"}, "classes": [*SHAPES.classes]},
    "visdrone": {"train": "VisDrone2019-DET-train", "val": "VisDrone2019-DET-val"},
}


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_datasets_of_other_formats_are_trained_and_measured_by_their_own_rules(kind, project, tmp_path_factory):
    shapes, root = tmp_path_factory.mktemp("shapes"), tmp_path_factory.mktemp("root")
    prepare_dataset(SHAPES, shapes, None)
    for split in ("train", "val"):
        content = json.loads((shapes / f"annotations/{split}.json").read_text())
        if kind == "voc":
            write_voc(content, shapes / split, root / "VOC2007", split)
        else:
            write_visdrone(content, shapes / split, root / f"VisDrone2019-DET-{split}")
    scale = {"base": "instant", "title": kind, "dataset": {"kind": kind, **OTHER_FORMATS[kind]}, "protocols": [kind]}
    model = yaml.safe_load((project / "experiments/scales/instant.yaml").read_text())["detectors"]["mask_rcnn"]["config"]
    for mask in ("mask_roi_extractor", "mask_head"):
        del model["roi_head"][mask]
    faster_rcnn = {"base": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "masks": False, "config": model}
    (project / "experiments/scales/other.yaml").write_text(yaml.safe_dump({**scale, "detectors": {"faster_rcnn": faster_rcnn}}))

    def boxes_by_its_rules(study):
        study["defaults"]["detector"] = "faster_rcnn"
        study["tables"]["table1"]["columns"] = {metric.name: metric.name.replace("_", " ") for metric in PROTOCOLS[kind]}
        for row in study["tables"]["table1"]["rows"]:
            row.pop("published", None)

    project.change_yaml("experiments/studies/two_necks.yaml", boxes_by_its_rules)
    project.configure(scale="other", data_root=str(root))
    made = project.snakemake("reports/two_necks_table1.md")
    assert made.returncode == 0, made.stderr
    for path in project.folder.glob("runs/*/metrics.json"):
        metrics = json.loads(path.read_text())["metrics"]
        assert all(metrics[metric.name] is not None for metric in PROTOCOLS[kind])
        assert (path.parent / "bootstrap.npz").exists()
    table = (project / "reports/two_necks_table1.md").read_text()
    assert all(metric.name.replace("_", " ") in table for metric in PROTOCOLS[kind])

    checked = project.python("-m", "experiments", "check-data")
    assert checked.returncode == 0, checked.stderr
    assert "annotations are right" in checked.stdout


def test_objects_of_one_category_are_labelled_against_all_else(project, tmp_path_factory):
    shapes = tmp_path_factory.mktemp("shapes")
    prepare_dataset(SHAPES, shapes, None)
    dataset = {"kind": "category_maps", "category": "disc", "image_ending": ".png"}
    for split in ("train", "val"):
        dataset |= {f"{split}_annotations": f"annotations/{split}.json", f"{split}_images": f"{split}/"}
    scale = {"base": "instant", "title": "discs", "dataset": dataset}
    (project / "experiments/scales/discs.yaml").write_text(yaml.safe_dump(scale))

    def label_pixels(study):
        study["defaults"]["detector"] = "semantic_fpn"
        study["tables"] = {
            "table1": {"title": "Discs", "columns": {"mIoU": "mIoU"}, "rows": [{"name": "FPN", "setting": "fpn"}]}
        }

    project.change_yaml("experiments/studies/two_necks.yaml", label_pixels)
    project.configure(scale="discs", data_root=str(shapes))
    made = project.snakemake("reports/two_necks_table1.md")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    content = json.loads(path.read_text())
    assert content["metrics"]["mIoU"] is not None
    assert list(content["classes"]) == ["background", "disc"]


MODEL = '''
class CopiedDataset(CocoDataset):
    """COCO's format, copied instead of linked."""

    kind: Literal["copied"]


Dataset = Annotated[CopiedDataset | '''
PREPARE = """\
from shutil import copytree

from experiments.data.coco import identify


def prepare(dataset, folder, data_root, expected, masks):
    copytree(data_root, folder)
    return identify(dataset, folder, expected, masks)
"""


def test_another_format_is_a_model_and_a_file(project, tmp_path_factory):
    photos = tmp_path_factory.mktemp("photos")
    prepare_dataset(SHAPES, photos, None)
    models = project / "experiments/spec/datasets.py"
    models.write_text(models.read_text().replace("\nDataset = Annotated[", MODEL))
    (project / "experiments/data/copied.py").write_text(PREPARE)
    (project / "experiments/scales/shelves.yaml").write_text(SCALE.replace("kind: coco", "kind: copied"))
    project.configure(scale="shelves", data_root=str(photos))
    made = project.snakemake("datasets/shelves.json")
    assert made.returncode == 0, made.stderr
    assert json.loads((project / "datasets/shelves.json").read_text())["train"]["images"] == SHAPES.train_count
    assert not (project / "datasets/shelves").is_symlink()


def test_images_of_one_label_each_are_trained_and_measured(project, tmp_path_factory):
    root = tmp_path_factory.mktemp("leaves")
    prepare_dataset(SHAPES, root / "drawn", None)
    (root / "drawn/one_shape").rename(root / "leaves")
    classes = sorted(path.name for path in (root / "leaves/train").iterdir())
    classifier = {
        "base": "own::classification.py", "task": "classification", "masks": False, "num_outs": 1, "out_channels": 16,
        "config": {"type": "ImageClassifier", "num_classes": len(classes), "in_channels": 16},
    }  # fmt: skip
    small = {"_delete_": True, "type": "PreActResNet", "blocks": 1, "base_channels": 4, "out_indices": [2]}
    scale = {
        "base": "instant", "title": "leaves", "dataset": {"kind": "image_folders", "class_count": len(classes)},
        "detectors": {"classifier": classifier}, "backbones": {"small": {"in_channels": [16], "config": small}},
    }  # fmt: skip
    (project / "experiments/scales/leaves.yaml").write_text(yaml.safe_dump(scale))
    setting = {"neck": {"type": "HighestLevel"}, "detector": "classifier", "backbone": "small"}

    def label_images(study):
        columns = {"top1_error": "error", "accuracy": "accuracy"}
        study["tables"] = {"table1": {"title": "Leaves", "columns": columns, "rows": [{"name": "small", "setting": setting}]}}

    for split in ("train", "val"):
        for name in classes:
            # Some drawn splits are so small that a class has no image.
            (root / f"leaves/{split}/{name}/more.png").write_bytes(next((root / "leaves/train").rglob("0*.png")).read_bytes())
    project.change_yaml("experiments/studies/two_necks.yaml", label_images)
    project.configure(scale="leaves", data_root=str(root / "leaves"))
    made = project.snakemake("reports/two_necks_table1.md", "reports/figures/two_necks_table1_ap.png")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    content = json.loads(path.read_text())
    assert content["metrics"]["accuracy"] == pytest.approx(100 - content["metrics"]["top1_error"])
    assert list(content["classes"]) == classes
    assert (path.parent / "bootstrap.npz").exists()
    refused = project.snakemake("reports/figures/two_necks_table1_examples.png")
    assert "error: " in refused.stderr
    assert "Traceback" not in refused.stderr
