"""Wrong data end in one sentence before anything is trained; what may be missing changes no number."""

import json
import re
import shutil

import pytest

from experiments.data.prepare import prepare_dataset
from tests.conftest import SHAPES
from tests.workflow.sentences import sentence_of
from tests.workflow.test_own_dataset import SCALE

pytestmark = pytest.mark.long


@pytest.fixture
def photos(tmp_path_factory):
    """A dataset in COCO's format."""
    folder = tmp_path_factory.mktemp("photos")
    prepare_dataset(SHAPES, folder, None)
    return folder


@pytest.fixture
def shelves(project, photos):
    """A project that trains on it."""
    (project / "experiments/scales/shelves.yaml").write_text(SCALE)
    project.configure(scale="shelves", data_root=str(photos))
    return project


def change(folder, split, apply):
    path = folder / f"annotations/{split}.json"
    content = json.loads(path.read_text())
    apply(content)
    path.write_text(json.dumps(content))


def widen(content):
    for image in content["images"]:
        image["width"] += 16
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_a_fault_is_told_before_anything_is_trained(shelves, photos):
    change(photos, "val", widen)
    sentence = sentence_of(shelves.snakemake("reports/two_necks_table1.md"))
    assert "annotations/val.json: image" in sentence
    assert "width and height: are 80 × 64; allowed: the size of its pixels" in sentence
    assert not list(shelves.folder.glob("runs/*/checkpoints"))
    assert not (shelves / "datasets/shelves.json").exists()
    assert "7 more" in (shelves / "logs/dataset.log").read_text()

    listed = shelves.python("-m", "experiments", "check-data", "--all")
    assert len([line for line in listed.stdout.splitlines() if "width and height: are 80 × 64" in line]) == SHAPES.val_count
    assert sentence_of(listed) == sentence.replace("datasets/shelves", str(photos))
    change(photos, "val", lambda content: [image.update(width=64) for image in content["images"]])
    checked = shelves.python("-m", "experiments", "check-data")
    assert checked.returncode == 0, checked.stderr
    assert f"val: {SHAPES.val_count} images with" in checked.stdout


def remove_masks(content):
    for annotation in content["annotations"][:3]:
        annotation["segmentation"] = []


def test_masks_are_needed_by_the_detectors_that_learn_from_them_alone(shelves, photos):
    change(photos, "train", remove_masks)
    shelves.change_yaml(
        "experiments/scales/instant.yaml",
        lambda scale: scale["detectors"].update(
            boxes=scale["detectors"]["mask_rcnn"]
            | {"base": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "masks": False}
        ),
    )
    for head in ("mask_roi_extractor", "mask_head"):
        shelves.change_yaml(
            "experiments/scales/instant.yaml",
            lambda scale, head=head: scale["detectors"]["boxes"]["config"]["roi_head"].pop(head),
        )
    shelves.change_yaml(
        "experiments/studies/two_necks.yaml",
        lambda study: study["tables"].update(
            boxes={
                "title": "Boxes alone",
                "columns": {"box_AP": "AP"},
                "rows": [{"name": "FPN", "setting": {"neck": {"type": "FPN"}, "detector": "boxes"}}],
            }
        ),
    )
    sentence = sentence_of(shelves.snakemake("reports/two_necks_table1.md"))
    assert "train.json: annotation 1: segmentation: is missing, as in 3 of" in sentence
    made = shelves.snakemake("reports/two_necks_boxes.md")
    assert made.returncode == 0, made.stderr
    checks = json.loads((shelves / "datasets/shelves.json").read_text())["checks"]
    assert (checks["train"]["without_mask"], checks["val"]["without_mask"]) == (3, 0)
    later = shelves.snakemake("reports/two_necks_table1.md")
    assert "datasets/shelves.json: 3 objects have no mask, which run" in sentence_of(later)


def test_encoded_masks_are_refused_where_a_schedule_keeps_polygons_alone(shelves, photos):
    shelves.change_yaml("experiments/scales/shelves.yaml", lambda scale: scale.update(schedules={"1x": {"polygons": True}}))
    sentence = sentence_of(shelves.snakemake("reports/two_necks_table1.md"))
    assert re.search(r"train.json: annotation 1: segmentation: is RLE, as in (\d+) of \1 objects; needed: polygons", sentence)
    shelves.change_yaml("experiments/scales/shelves.yaml", lambda scale: scale.pop("schedules"))
    checked = shelves.snakemake("datasets/shelves.json")
    assert checked.returncode == 0, checked.stderr
    shelves.change_yaml("experiments/scales/shelves.yaml", lambda scale: scale.update(schedules={"1x": {"polygons": True}}))
    sentence = sentence_of(shelves.snakemake("reports/two_necks_table1.md"))
    assert re.search(r"datasets/shelves.json: \d+ objects have masks in RLE, and run \w+ keeps polygons alone; write", sentence)


def without_what_may_be_missing(content):
    del content["images"][0]["height"], content["annotations"][0]["iscrowd"]
    content["images"][0]["height"] = 64  # last, and unknown keys beside it
    content["images"][1]["license"] = None
    for annotation in content["annotations"]:
        annotation.pop("iscrowd", None)
        annotation["bbox"] = [float(value) for value in annotation["bbox"]]


@pytest.mark.slow
def test_what_may_be_missing_changes_no_number(shelves, photos):
    metrics = []
    for _ in range(2):
        made = shelves.snakemake("reports/two_necks_table1.md")
        assert made.returncode == 0, made.stderr
        (path,) = shelves.folder.glob("runs/*/metrics.json")
        metrics.append(json.loads(path.read_text()))
        for split in ("train", "val"):
            change(photos, split, without_what_may_be_missing if len(metrics) == 1 else dict)
        shutil.rmtree(path.parent)
        (shelves / "datasets/shelves.json").unlink()
    first, second = metrics
    assert first["metrics"] == second["metrics"]
    assert first["history"] == second["history"]
    assert "annotations have no iscrowd; it is taken as 0" in (shelves / "logs/dataset.log").read_text()
