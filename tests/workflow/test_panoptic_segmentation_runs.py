"""Panoptic segmentation from drawn segments to a table, with mmdetection's model."""

import gzip
import json
import os
import re
import subprocess
import sys

import mmdet
import numpy as np
import pytest
from invented import add_invented_neck
from mmengine.config import Config
from pycocotools import mask as mask_api

from experiments.bootstrap.resamples import read_replicates
from experiments.tasks.panoptic_quality import counts_of_image, summarize
from experiments.tasks.segments import Segment, read_map, read_segments

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def trained(shared_project):
    add_invented_neck(shared_project, "table2")
    shared_project.configure(studies=["segmented"])
    result = shared_project.snakemake("reports/segmented_table2.md")
    assert result.returncode == 0, result.stderr
    return shared_project


def finished_runs(project):
    return sorted((project / "runs").glob("*/metrics.json"))


def test_a_neck_of_ones_own_is_a_row_of_a_table_of_segments(trained):
    report = (trained / "reports/segmented_table2.md").read_text()
    assert re.search(r"\| Invented \|.*\d", report)
    assert len(finished_runs(trained)) == 2


def test_panoptic_quality_is_that_of_the_predictions_that_were_kept(trained):
    for path in finished_runs(trained):
        metrics = json.loads(path.read_text())
        config = Config.fromfile(path.with_name("config.py"))
        evaluator, classes = config.test_evaluator[0], list(config.test_dataloader.dataset.metainfo.classes)
        entries = json.loads(gzip.decompress(path.with_name("predictions.json.gz").read_bytes()))
        counts = []
        for image, truth in read_segments(trained / evaluator.ann_file, classes).items():
            identifiers = read_map(trained / evaluator.maps / truth.map_name)
            predicted, segments = np.zeros_like(identifiers), {}
            for number, entry in enumerate((entry for entry in entries if entry["image_id"] == image), start=1):
                predicted[mask_api.decode(entry["segmentation"]).astype(bool)] = number
                segments[number] = Segment(entry["segment"])
            counts.append(counts_of_image(predicted, segments, identifiers, truth.segments, len(classes)))
        for name, value in summarize(np.sum(counts, axis=0), evaluator.things).items():
            assert value == pytest.approx(metrics["metrics"][name], rel=1e-12)


def test_the_first_resample_is_the_images_themselves(trained):
    for path in finished_runs(trained):
        metrics, replicates = json.loads(path.read_text())["metrics"], read_replicates(path.with_name("bootstrap.npz"))
        assert {"PQ", "mIoU", "box_AP", "mask_AP"} <= set(replicates)
        for name, values in replicates.items():
            assert values[0] == pytest.approx(metrics[name], rel=1e-9)


@pytest.mark.slow
def test_mmdetections_own_tools_train_and_test_a_generated_config(trained):
    path = finished_runs(trained)[0]
    tools = os.path.join(os.path.dirname(mmdet.__file__), ".mim", "tools")
    config, checkpoint = path.with_name("config.py"), path.with_name("checkpoints") / "epoch_3.pth"
    shared = {"cwd": trained.folder, "env": trained.environment, "text": True, "capture_output": True, "check": False}
    options = ["--work-dir", "others", "--cfg-options", "train_cfg.max_epochs=1"]
    result = subprocess.run([sys.executable, f"{tools}/train.py", str(config), *options], **shared, timeout=300)
    assert result.returncode == 0, result.stderr
    tests = [sys.executable, f"{tools}/test.py", str(config), str(checkpoint), "--work-dir", "others"]
    result = subprocess.run(tests, **shared, timeout=300)
    assert result.returncode == 0, result.stderr
    logged = float(re.findall(r"panoptic/PQ: ([0-9.]+)", result.stdout + result.stderr)[-1])
    assert logged == pytest.approx(json.loads(path.read_text())["metrics"]["PQ"], abs=0.0001)
