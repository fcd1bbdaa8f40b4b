"""Synthetic studies and what their runs would leave, to measure how planning and collecting grow."""

from collections.abc import Iterator
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import yaml

from experiments.records.metrics_file import Provenance, RunMetrics, write_metrics
from experiments.records.progress_file import Progress
from experiments.spec.dataset_identity import DatasetIdentity, SplitIdentity
from experiments.spec.fingerprint import fingerprints
from experiments.spec.metrics import ACCURACY
from experiments.spec.run import Run

ROWS_PER_TABLE = 100
TABLES_PER_STUDY = 10
SHAPES = ("tables of 100 rows", "one table")
HISTORY_POINTS = 48
LOSSES = ("loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "acc", "loss_bbox", "loss_mask")
SPLIT = SplitIdentity(annotations_sha256="0" * 64, images=200, annotations=1500)
DATASET = DatasetIdentity(train=SPLIT, val=SPLIT)


def write_studies(folder: Path, rows: int, rows_per_table: int) -> None:
    """Write studies whose rows all differ in the options of A²-FPN, and a configuration that asks for all of them.

    Parameters
    ----------
    folder : Path
        Copy of the project.
    rows : int
        Number of rows of all tables together.
    rows_per_table : int
        Largest number of rows in a table.
    """
    necks = _necks(rows)
    tables = [list(islice(necks, rows_per_table)) for _ in range(-(-rows // rows_per_table))]
    names = []
    for start in range(0, len(tables), TABLES_PER_STUDY):
        name = f"synthetic{start // TABLES_PER_STUDY}"
        contents = {f"table{number}": _table(necks) for number, necks in enumerate(tables[start : start + TABLES_PER_STUDY])}
        study = {
            "title": "Synthetic",
            "reference": "nowhere",
            "defaults": {"detector": "mask_rcnn", "backbone": "resnet50", "schedule": "1x"},
            "tables": contents,
        }
        path = folder / f"experiments/studies/{name}.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=200))
        names.append(name)
    configuration = {"studies": names, "scale": "demo", "seeds": [0], "data_root": None, "train": "missing"}
    (folder / "experiments/config.yaml").write_text(yaml.safe_dump(configuration))


def _necks(number: int) -> Iterator[dict[str, Any]]:
    variants = cycle(product(("conv", "mgc"), ("nearest", "carafe", "gacarafe"), ("conv", "cap", "gacap"), ("conv", "pool")))
    for index, (lateral, top_down, bottom_up, extra_level) in zip(range(number), variants, strict=False):
        operations = {"lateral": lateral, "top_down": top_down, "bottom_up": bottom_up, "extra_level": extra_level}
        # A number as good as 0.5, so that the necks can be built.
        yield {"type": "A2FPN", **operations, "context_ratio": round(0.5 + index / 1_000_000, 6)}


def _table(necks: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {metric: metric for metric in ("box_AP", "mask_AP", "mask_AP50", "mask_AP75", "mask_APS", "mask_APM", "mask_APL")}
    rows = [
        {"name": f"row {number}", "setting": {"neck": neck}, "published": [30 + number % 100 / 10] * len(columns)}
        for number, neck in enumerate(necks)
    ]
    return {"title": "Synthetic", "columns": columns, "rows": rows}


def leave_runs(runs: list[Run], finished: int) -> None:
    """Write what trainings would leave: every run's config, the metrics of the first ones, the progress of the others.

    Parameters
    ----------
    runs : list of Run
        All runs of the grid.
    finished : int
        Number of finished runs.
    """
    history = [
        {"iteration": 8 * point, **{name: 3.0 / point + len(name) / 1e5 for name in LOSSES}}
        for point in range(1, HISTORY_POINTS + 1)
    ]
    versions = {"torch": "2.13.0", "onedl-mmcv": "2.3.6", "onedl-mmengine": "0.10.12", "onedl-mmdetection": "3.5.1"}
    made: dict[str, Any] = {
        "date": "2026-01-02T03:04:05+00:00",
        "seconds": 150.0,
        "seconds_per_iteration": 0.35,
        "processes": 1,
        "effective_batch": 8,
        "learning_rate": 0.002,
        "hardware": {"processor": "made up", "gpus": []},
        "threads": 1,
        "versions": versions,
    }
    for number, run in enumerate(runs):
        run.folder.mkdir(parents=True, exist_ok=True)
        if not (run.folder / "config.py").exists():
            (run.folder / "config.py").write_text("# written by a benchmark\n")
        metrics = {metric: round(20 + number % 997 / 100, 4) for metric in ACCURACY}
        if number < finished:
            content = {"run": run.id, "spec": run.spec, "metrics": metrics, "history": history, "parameters": 44_000_000}
            provenance = Provenance(**made, sources=fingerprints(run.models, run.task))
            write_metrics(run.metrics_file, RunMetrics(**content, dataset=DATASET, provenance=provenance))
        else:
            (run.folder / "progress.json").write_text(_progress(number, metrics).model_dump_json())


def _progress(number: int, metrics: dict[str, float]) -> Progress:
    return Progress(
        state=("running", "failed", "preempted")[number % 3],
        epoch=1,
        max_epochs=3,
        iteration=150,
        max_iterations=375,
        seconds_per_iteration=0.35,
        seconds_left=79.0,
        loss=1.5,
        metrics=metrics,
        reason="loss_bbox is not finite in epoch 2, iteration 3" if number % 3 == 1 else None,
        host="node1",
        process=4_000_000,
        updated="2026-01-02T03:04:05+00:00",
    )
