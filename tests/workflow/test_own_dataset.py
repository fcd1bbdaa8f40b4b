"""A dataset of one's own: any classes, one file of at most 15 lines."""

import json

from experiments.data.prepare import prepare_dataset
from tests.conftest import SHAPES

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
