"""A folder of label maps of one's own: metrics of categories and instances, maps for a server, its answer in the table."""

import json
import re
import zipfile
from io import BytesIO

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from experiments.bootstrap.resamples import read_replicates
from experiments.data.prepare import prepare_dataset
from reports.label_examples import read_label_maps
from tests.conftest import SHAPES

pytestmark = pytest.mark.long

SHAPES_SEEN = ["disc", "star", "cross", "crescent", "triangle", "square"]
CLASS_IDS = [24, 25, 26, 27, 28, 31, 7, 8]
SCALE = """\
base: instant
title: streets
dataset:
  kind: label_maps
  classes: [disc, star, cross, crescent, triangle, square, ground, scratches]
  train_images: train/
  train_maps: stuffthingmaps/train/
  val_images: val/
  val_maps: stuffthingmaps/val/
  image_ending: .png
"""
MORE = {"paper_setting": True, "test_ratios": [1.0, 1.5]}
GROUPS = {
    "categories": {"shape": SHAPES_SEEN, "stuff": ["ground", "scratches"]},
    "instances": {"map_ending": "_instances.png", "mean_pixels": dict.fromkeys(SHAPES_SEEN, 200)},
}
STUDY = {
    "title": "Labels",
    "reference": "nowhere",
    "tables": {
        "table1": {
            "title": "One row",
            "columns": {"iIoU": "iIoU", "category_IoU": "IoU sup", "category_iIoU": "iIoU sup", "test_iIoU": "test iIoU"},
            "rows": [
                {
                    "name": "FPN",
                    "setting": {"neck": {"type": "FPN"}, "detector": "semantic_fpn", "backbone": "resnet50", "schedule": "1x"},
                }
            ],
        }
    },
}
REPORT = "reports/labels_table1.md"


def write_instances(maps) -> None:
    """Connected parts of each shape, numbered as Cityscapes' are."""
    for path in sorted(maps.glob("*.png")):
        labels = np.asarray(Image.open(path))
        ids = labels.astype(np.uint16)
        for label in range(len(SHAPES_SEEN)):
            _, parts = cv2.connectedComponents((labels == label).astype(np.uint8))
            ids[parts > 0] = 1000 * CLASS_IDS[label] + parts[parts > 0]
        Image.fromarray(ids).save(path.with_name(f"{path.stem}_instances.png"))


@pytest.fixture
def streets(project, tmp_path_factory):
    """A project with a scale on such a folder, which is returned too; the validation images are the test images."""
    folder = tmp_path_factory.mktemp("streets")
    prepare_dataset(SHAPES, folder, None)
    write_instances(folder / "stuffthingmaps/val")
    count = len(list((folder / "val").iterdir()))
    scale = {**yaml.safe_load(SCALE), **MORE, "test_set": {"images": "val/", "count": count, "class_ids": CLASS_IDS}}
    scale["dataset"] |= GROUPS
    (project / "experiments/scales/streets.yaml").write_text(yaml.safe_dump(scale, sort_keys=False))
    (project / "experiments/studies/labels.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    project.configure(scale="streets", data_root=str(folder), studies=["labels", "two_necks"])
    return project, folder


def succeed(result) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_a_folder_of_ones_own_takes_fifteen_lines():
    assert len(SCALE.splitlines()) <= 15


def test_a_folder_is_measured_with_its_groups_and_the_servers_answer_fills_its_column(streets):
    project, folder = streets
    succeed(project.snakemake(REPORT, "reports/two_necks_table1.md"))
    assert r"scale streets has no mask\_rcnn; " in (project / "reports/two_necks_table1.md").read_text()
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())
    replicates = read_replicates(path.with_name("bootstrap.npz"))
    for name in ("mIoU", "category_IoU", "iIoU", "category_iIoU"):
        assert 0 < trained["metrics"][name] < 100
        assert replicates[name][0] == pytest.approx(trained["metrics"][name], rel=1e-9)

    text = succeed(project.snakemake(f"submissions/{trained['run']}"))
    assert re.search(r"run [0-9a-f]{12} on val/: 100%", text), "progress is shown"
    (archive,) = (project / f"submissions/{trained['run']}").glob("*.zip")
    assert archive.name == f"label_maps_FPN-semantic-fpn-resnet50-1x-{trained['run']}.zip"
    found = read_label_maps(path.with_name("predictions.json.gz"))
    with zipfile.ZipFile(archive) as content:
        assert content.namelist() == [image.name for image in sorted((folder / "val").iterdir())]
        for name, labels in found.items():
            submitted = np.asarray(Image.open(BytesIO(content.read(f"{name}.png"))))
            np.testing.assert_array_equal(submitted, np.array(CLASS_IDS)[labels])
    assert len({label for labels in found.values() for label in np.unique(labels)}) > 2

    names = [f"averageScore{part}" for part in ("Classes", "InstClasses", "Categories", "InstCategories")]
    answer = {"labels": dict(zip(names, (0.8, 0.613, 0.906, 0.785), strict=True))}
    (project / f"experiments/evaluation_server/{trained['run']}.json").write_text(json.dumps(answer))
    succeed(project.snakemake(REPORT))
    row = next(line for line in (project / REPORT).read_text().splitlines() if line.startswith("| FPN"))
    assert row.endswith("| 61.3 |"), row


def test_a_missing_map_of_instances_is_one_sentence(streets):
    project, folder = streets
    (folder / "stuffthingmaps/val/000001_instances.png").unlink()
    result = project.snakemake(REPORT)
    assert result.returncode != 0
    assert "map of instances 000001_instances.png does not exist beside 000001.png" in result.stdout + result.stderr
    assert not list(project.folder.glob("runs/*/checkpoints"))


def test_a_label_of_no_class_is_one_sentence(streets):
    project, folder = streets
    Image.fromarray(np.full((64, 64), 8, np.uint8)).save(folder / "stuffthingmaps/val/000000.png")
    result = project.snakemake(REPORT)
    assert result.returncode != 0
    words = "label map 000000.png has the label 8; allowed: 0 to 7 for disc to scratches, and 255, ignored"
    assert words in result.stdout + result.stderr
