"""A folder with metrics of some runs of the A²-FPN study, made up, and reports made of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.bootstrap.resamples import write_replicates
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


ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = {"studies": ["a2fpn"], "scale": "demo", "seeds": [0, 1], "data_root": None, "train": "missing", "rows": None}
# Mean box AP of each setting of Table 2 that has run; the others have not.
MEANS = {"fpn": 13.0, "pafpn": 15.0, "mgc": 14.6, "gacarafe": 18.2, "gacap": 9.4, "a2fpn": 20.1}


@pytest.fixture(scope="session")
def made_reports(tmp_path_factory):
    """A folder in which Table 2 was made of made-up runs, its figures, and the page of all reports."""
    folder, study, demo = tmp_path_factory.mktemp("made_reports"), load_study("a2fpn"), load_scale("demo")
    for name in ("experiments", "necks", "kernels"):
        (folder / name).symlink_to(ROOT / name)
    for setting, mean in MEANS.items():
        for seed in (0, 1):
            _leave(folder, Run(study.settings[setting], demo, seed), mean + 0.3 * seed)
    data, figures = folder / "reports/data/table2", folder / "reports/figures"
    for path in (data.parent, figures):
        path.mkdir(parents=True)
    files = {"results": "", "runs": "_runs", "gains": "_gains", "classes": "_classes"}
    read = [part for option, end in files.items() for part in (f"--{option}", f"{data}{end}.csv")]
    history = ["--history", f"{data}_history.csv"]
    table = ["--study", "a2fpn", "--table", "table2", "--scale", "demo"]
    drawn = ["--scale", "demo", "--results", f"{data}.csv", "--gains", f"{data}_gains.csv", *history]
    for command in (
        ["reports.collect", *table, "--seeds", "0", "1", *read, *history],
        ["reports.tables", *table, *read, "reports/table2"],
        ["reports.figures", "--figures", "gains", "ap", *drawn, "reports/figures/table2"],
        ["reports.index", "--configuration", json.dumps(CONFIGURATION), "reports/index.html"],
    ):
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
        program = [sys.executable, "-P", "-m", *command]
        result = subprocess.run(program, cwd=folder, env=environment, text=True, capture_output=True, check=False, timeout=300)
        assert result.returncode == 0, result.stderr
    return folder


def _leave(folder, run, box_ap):
    path = folder / run.metrics_file
    path.parent.mkdir(parents=True)
    metrics = {f"{kind}_{name}": box_ap - n for kind in ("box", "mask") for n, name in enumerate(("AP", "AP50", "AP75"))}
    history = [{"iteration": 10 * step, "loss": 3.0 / step} for step in range(1, 5)]
    made = {"date": "2026-01-02T03:04:05+00:00", "seconds": 90.0 + box_ap, "versions": {"torch": "1.2.3"}}
    classes = {"disc": {"box_AP": box_ap + 1}, "star | <b>": {"box_AP": box_ap - 1}, "none": {"box_AP": None}}
    record = {"run": run.id, "metrics": metrics, "history": history, "provenance": made, "dataset": DATASET, "classes": classes}
    path.write_text(json.dumps(record))
    drawn = np.random.default_rng(run.seed).normal(0, 0.7, (len(metrics), 1000))
    values = {name: np.concatenate([[value], value + line]) for (name, value), line in zip(metrics.items(), drawn, strict=True)}
    write_replicates(path.with_name("bootstrap.npz"), values)
