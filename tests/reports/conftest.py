"""A folder with metrics of some runs of the A²-FPN study, made up."""

import json

import pytest

from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study

SPLIT = {"images": 6, "annotations": 20, "annotations_sha256": "a1"}
DATASET = {"train": SPLIT, "val": SPLIT}


@pytest.fixture
def study():
    return load_study("a2fpn")


@pytest.fixture
def finished(tmp_path, monkeypatch, study):
    """A function that leaves metrics for (setting, seed, box AP) and returns to the temporary folder."""
    scales = {name: load_scale(name) for name in ("demo", "coco")}
    monkeypatch.setattr("reports.collect.load_scale", scales.get)
    monkeypatch.chdir(tmp_path)

    def leave(setting: str, box_ap: float, seed: int = 0, scale: str = "demo", made: dict | None = None) -> Run:
        run = Run(study.settings[setting], scales[scale], seed)
        run.folder.mkdir(parents=True)
        sizes = {
            f"{k}_{m}": box_ap - n for k in ("box", "mask") for n, m in enumerate(("AP", "AP50", "AP75", "APS", "APM", "APL"))
        }
        history = [{"iteration": 10 * i, "loss": 3.0 / i} for i in range(1, 5)]
        made = {"date": "2026-01-02T03:04:05+00:00", "versions": {"torch": "1.2.3", "six": "1.0"}, **(made or {})}
        record = {"run": run.id, "metrics": sizes, "history": history, "provenance": made, "dataset": DATASET}
        run.metrics_file.write_text(json.dumps(record))
        return run

    return leave
