"""Semantic segmentation from drawn label maps to a table, with mmsegmentation's models and tools."""

import gzip
import json
import os
import re
import subprocess
import sys

import cv2
import mmseg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from invented import add_invented_neck
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from PIL import Image
from pycocotools import mask as mask_api

from experiments.bootstrap.resamples import read_replicates
from experiments.tasks.class_areas import areas_of_image, read_labels, summarize

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def trained(shared_project):
    add_invented_neck(shared_project, "table1")
    shared_project.configure(studies=["segmented"])
    shared_project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(test_ratios=[1.0, 1.5]))
    result = shared_project.snakemake("reports/segmented_table1.md")
    assert result.returncode == 0, result.stderr
    return shared_project


def finished_runs(project):
    return sorted((project / "runs").glob("*/metrics.json"))


def test_a_neck_of_ones_own_is_a_row_of_a_table_of_labels(trained):
    report = (trained / "reports/segmented_table1.md").read_text()
    assert re.search(r"\| Invented \|.*\d", report)
    assert "None" not in report
    assert len(finished_runs(trained)) == 2


def test_metrics_resamples_and_predictions_say_the_same(trained):
    for path in finished_runs(trained):
        metrics = json.loads(path.read_text())
        for name, values in read_replicates(path.with_name("bootstrap.npz")).items():
            assert values[0] == pytest.approx(metrics["metrics"][name], rel=1e-9)
        hits = pixels = 0
        entries = json.loads(gzip.decompress(path.with_name("predictions.json.gz").read_bytes()))
        truths = Config.fromfile(path.with_name("config.py")).test_dataloader.dataset
        folder = trained / truths.data_root / truths.data_prefix.seg_map_path
        for entry in entries:
            mask = mask_api.decode(entry["segmentation"]).astype(bool)
            truth = np.asarray(Image.open(folder / f"{entry['image']}.png"))
            hits += int((truth[mask] == entry["label"]).sum())
            pixels += int((truth[mask] != truths.ignore_index).sum())
        assert 100 * hits / pixels == pytest.approx(metrics["metrics"]["pixel_accuracy"], rel=1e-12)


def test_a_test_at_several_scales_is_another_metric_of_the_same_run(trained):
    for path in finished_runs(trained):
        metrics = json.loads(path.read_text())["metrics"]
        assert set(metrics) == {"mIoU", "mean_accuracy", "pixel_accuracy", "mIoU_multi_scale"}
        assert 0 < metrics["mIoU_multi_scale"] != metrics["mIoU"]


def labelled_at_several_scales(model, picture, config):
    """Labels of the mean of softmaxes over two sizes and their mirror images, written out."""
    head, (mean, std) = model.decode_head, (torch.tensor(config.model.data_preprocessor[key]) for key in ("mean", "std"))
    total = 0
    for side in (64, 96):
        resized = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
        for mirrored in (False, True):
            shown = resized[:, ::-1] if mirrored else resized
            pixels = (torch.tensor(shown[..., ::-1].astype(np.float32)) - mean) / std
            logits = F.interpolate(head(model.extract_feat(pixels.permute(2, 0, 1)[None])), (side, side), mode="bilinear")
            logits = F.interpolate(logits.flip(-1) if mirrored else logits, picture.shape[:2], mode="bilinear")
            total = total + logits.softmax(dim=1)
    return total.argmax(dim=1)[0].numpy()


@torch.no_grad()
def test_the_test_at_several_scales_averages_all_sizes_and_their_mirror_images(trained):
    path = finished_runs(trained)[0]
    config = Config.fromfile(path.with_name("config.py"))
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config.model).eval()
    load_checkpoint(model, str(path.with_name("checkpoints") / "epoch_3.pth"), map_location="cpu")
    dataset = config.test_dataloader.dataset
    folder = trained / dataset.data_root
    areas = []
    for truth in sorted((folder / dataset.data_prefix.seg_map_path).glob("*.png")):
        picture = cv2.imread(str(folder / dataset.data_prefix.img_path / truth.name))
        labels = labelled_at_several_scales(model, picture, config)
        areas.append(areas_of_image(labels, read_labels(truth), 8, 255))
    expected = summarize(np.sum(areas, axis=0))["mIoU"]
    assert json.loads(path.read_text())["metrics"]["mIoU_multi_scale"] == pytest.approx(float(expected), rel=0.002)


def test_mmsegmentations_own_tools_train_and_test_a_generated_config(trained):
    path = finished_runs(trained)[0]
    tools = os.path.join(os.path.dirname(mmseg.__file__), ".mim", "tools")
    config, checkpoint = path.with_name("config.py"), path.with_name("checkpoints") / "epoch_3.pth"
    shared = {"cwd": trained.folder, "env": trained.environment, "text": True, "capture_output": True, "check": False}
    trains = [
        sys.executable,
        f"{tools}/train.py",
        str(config),
        "--work-dir",
        "others",
        "--cfg-options",
        "train_cfg.max_epochs=1",
    ]
    result = subprocess.run(trains, **shared, timeout=300)
    assert result.returncode == 0, result.stderr
    tests = [sys.executable, f"{tools}/test.py", str(config), str(checkpoint), "--work-dir", "others"]
    result = subprocess.run(tests, **shared, timeout=300)
    assert result.returncode == 0, result.stderr
    metrics = json.loads(path.read_text())["metrics"]
    for name in ("mIoU", "mIoU_multi_scale"):
        logged = float(re.findall(rf"{name}: ([0-9.]+)", result.stdout + result.stderr)[-1])
        assert logged == pytest.approx(metrics[name], abs=0.0051)
