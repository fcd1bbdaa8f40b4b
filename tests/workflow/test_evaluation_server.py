"""HTC on a folder in COCO's layout: its stuff maps, its submission, and the server's answer in the table."""

import json
import re
import shutil
import zipfile
from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml
from mmdet.apis import inference_detector, init_detector
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

pytestmark = pytest.mark.long

NAMES = [
    *("AP", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large"),
    *("AR_max_1", "AR_max_10", "AR_max_100", "AR_small", "AR_medium", "AR_large"),
]
STUDY = {
    "title": "HTC",
    "reference": "nowhere",
    "tables": {
        "table1": {
            "title": "One row",
            "columns": {"box_AP": "val AP^bb", "test_box_AP": "test-dev AP^bb", "test_mask_APL": "test-dev APL"},
            "rows": [
                {
                    "name": "HTC",
                    "setting": {"neck": {"type": "FPN"}, "detector": "htc", "backbone": "resnet50", "schedule": "1x"},
                    "published": [None, 40.0, None],
                }
            ],
        }
    },
}
REPORT = "reports/htc_table1.md"


def with_80_classes(value):
    """The detectors of the `instant` scale for COCO's classes in the place of six."""
    if isinstance(value, list):
        return [with_80_classes(item) for item in value]
    if isinstance(value, dict):
        return {key: 80 if (key, item) == ("num_classes", 6) else with_80_classes(item) for key, item in value.items()}
    return value


@pytest.fixture
def on_coco(project, coco):
    """A project with a tiny scale on a folder in COCO's layout, which is returned too."""
    scale = yaml.safe_load((project / "experiments/scales/instant.yaml").read_text())
    splits = {f"{split}_annotations": f"annotations/instances_{split}2017.json" for split in ("train", "val")}
    scale["dataset"] = {"kind": "coco", "train_images": "train2017/", "val_images": "val2017/", **splits}
    scale["detectors"] = with_80_classes(scale["detectors"])
    scale["test_set"] = {
        "name": "test-dev2017", "image_info": "annotations/image_info_test-dev2017.json", "images": "test2017/",
    }  # fmt: skip
    scale["paper_setting"] = True
    (project / "experiments/scales/instant_coco.yaml").write_text(yaml.safe_dump(scale))
    (project / "experiments/studies/htc.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    project.configure(scale="instant_coco", studies=["htc"], data_root=str(coco))
    # The validation images are the test images too, so that the test knows what the server would answer.
    info = json.loads((coco / "annotations/instances_val2017.json").read_text())
    del info["annotations"]
    (coco / "annotations/image_info_test-dev2017.json").write_text(json.dumps(info))
    shutil.copytree(coco / "val2017", coco / "test2017")
    return project, coco


def succeed(result) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def unpack(archive) -> list[dict]:
    """The detections of an archive that is named as the server demands."""
    assert re.fullmatch(r"detections_test-dev2017_[A-Za-z0-9-]+_results\.zip", archive.name)
    with zipfile.ZipFile(archive) as content:
        assert content.namelist() == [f"{archive.stem}.json"]
        return json.loads(content.read(f"{archive.stem}.json"))


def evaluate(found: list[dict], truth: COCO, kind: str) -> list[float]:
    """The twelve statistics that the server prints."""
    # pycocotools adds to what it is given.
    evaluation = COCOeval(truth, truth.loadRes(deepcopy(found)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [max(0.0, float(value)) for value in evaluation.stats]


def boxes_found_by_mmdet(run, image) -> list[list[float]]:
    """Left, top, width, height and score of what mmdetection's own API finds with the run's last checkpoint."""
    model = init_detector(str(run / "config.py"), str(run / "checkpoints/epoch_3.pth"), device="cpu")
    found = inference_detector(model, str(image)).pred_instances
    corners = found.bboxes.double()
    return [
        [*box, score]
        for box, score in zip(
            torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist(), found.scores.tolist(), strict=True
        )
    ]


@pytest.mark.slow
def test_htc_learns_from_stuff_maps_and_the_servers_answer_fills_its_row(on_coco, tmp_path):
    project, coco = on_coco
    refused = project.snakemake(REPORT)
    sentence = f"error: stuff maps: the folder {coco}/stuffthingmaps/train2017 does not exist; "
    assert refused.returncode != 0
    assert sentence in refused.stderr + refused.stdout
    assert not list(project.folder.glob("runs/*/checkpoints"))

    shutil.copytree(tmp_path / "drawn/stuffthingmaps/train", coco / "stuffthingmaps/train2017")
    succeed(project.snakemake(REPORT))
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())
    assert all(np.isfinite(point["loss_semantic_seg"]) for point in trained["history"])
    assert re.search(r"^\| HTC \| [\d*.]+ \| not measured \(\*\*40\.0\*\*\) \|", (project / REPORT).read_text(), re.MULTILINE)

    text = succeed(project.snakemake(f"submissions/{trained['run']}"))
    assert re.search(r"run [0-9a-f]{12} on test2017/: 100%", text), "progress is shown"
    truth = COCO(str(coco / "annotations/instances_val2017.json"))
    keys = {"box": "bbox", "mask": "segmentation"}
    answer, found = {}, {}
    for kind, part in (("box", "bbox"), ("mask", "segm")):
        (archive,) = (project / f"submissions/{trained['run']}/{kind}").iterdir()
        assert f"_FPN-htc-resnet50-1x-{trained['run']}_" in archive.name
        found[kind] = unpack(archive)
        assert {entry["image_id"] for entry in found[kind]} == set(truth.imgs)
        assert {key for entry in found[kind] for key in entry} == {"image_id", "category_id", "score", keys[kind]}
        answer[part] = dict(zip(NAMES, evaluate(found[kind], truth, part), strict=True))
    first = [[*entry["bbox"], entry["score"]] for entry in found["box"] if entry["image_id"] == 0]
    expected = boxes_found_by_mmdet(path.parent, coco / "test2017" / truth.imgs[0]["file_name"])
    assert first == [pytest.approx(line, rel=1e-4, abs=1e-4) for line in expected]
    assert mask_utils.decode(found["mask"][0]["segmentation"]).shape == (64, 64)

    answer["bbox"]["AP"], answer["segm"]["AP_large"] = 0.4125, 0.5
    (project / f"experiments/evaluation_server/{trained['run']}.json").write_text(json.dumps(answer))
    succeed(project.snakemake(REPORT))
    row = next(line for line in (project / REPORT).read_text().splitlines() if line.startswith("| HTC"))
    assert re.fullmatch(r"\| HTC \| [\d*.]+ \| 41\.2 \(\*\*40\.0\*\*, \+1\.2\) \| 50\.0 \|", row), row

    (project / f"experiments/evaluation_server/{trained['run']}.json").unlink()
    succeed(project.snakemake(REPORT))
    assert re.search(r"^\| HTC \| [\d*.]+ \| not measured", (project / REPORT).read_text(), re.MULTILINE), "it was withdrawn"
