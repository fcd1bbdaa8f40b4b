"""Config -> metrics: train from the newest checkpoint of the run, measure, and leave ``metrics.json``."""

import argparse
import hashlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, init_dist, is_main_process
from mmengine.runner import Runner

from experiments.errors import UserError, explain_build, run_or_explain
from experiments.evaluate import average_precision
from experiments.hooks import ProgressHook
from experiments.sources import training_sources
from experiments.study import neck_types

PACKAGES = ("torch", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection", "numpy")


def train(config_file: Path, dataset: dict[str, Any], threads: int) -> dict[str, Any]:
    """Train the run of a config file as far as it is not trained yet, and measure it.

    Parameters
    ----------
    config_file : Path
        Written by `experiments.write_config`.
    dataset : dict
        Identity of the dataset, from `experiments.dataset`.
    threads : int
        CPU threads of all processes of this machine together.

    Returns
    -------
    dict
        Content of ``metrics.json``.

    Raises
    ------
    UserError
        If the neck refuses its options, or the loss is not finite.
    """
    started = time.monotonic()
    torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    config = Config.fromfile(config_file)
    if "LOCAL_RANK" in os.environ:
        config.launcher = "pytorch"
        init_dist(config.launcher, **config.env_cfg.dist_cfg)
    checkpoints = Path(config.work_dir)
    if is_main_process():
        _set_aside_foreign_checkpoints(checkpoints, _origin(config_file, _models(config), dataset))
    barrier()
    checkpoint = newest_checkpoint(checkpoints)
    config.resume, config.load_from = checkpoint is not None, checkpoint and str(checkpoint)
    with TemporaryDirectory() as folder:
        detections = Path(folder) / "detections"
        config.test_evaluator.update(format_only=True, outfile_prefix=str(detections))
        runner = _build(config)
        runner.register_hook(ProgressHook(sys.__stderr__), priority="LOWEST")
        runner.train()
        runner.test()
        metrics = _measure(config, detections) if is_main_process() else {}
    return {
        "run": config.run_id,
        "spec": config.run_spec.to_dict(),
        "metrics": metrics,
        "history": runner.message_hub.get_info("history"),
        "parameters": sum(parameter.numel() for parameter in runner.model.parameters()),
        "dataset": dataset,
        "made": {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 1),
            "resumed_from": checkpoint and checkpoint.name,
            "threads": threads,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest epoch that can be read; one that a kill cut short is passed over.

    Parameters
    ----------
    folder : Path
        Where mmengine writes ``epoch_<n>.pth``.
    """
    for path in sorted(folder.glob("epoch_*.pth"), key=lambda path: int(path.stem.split("_")[1]), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=False, mmap=True)
        except Exception as error:
            print(f"passing over {path}, which cannot be read: {error}")
        else:
            return path
    return None


def _models(config: Config) -> list[str]:
    return [*neck_types(config.model.neck), config.model.backbone.type]


def _origin(config_file: Path, models: list[str], dataset: dict[str, Any]) -> str:
    """Hash of what the checkpoints depend on: the config, the dataset and the sources."""
    files = [config_file, *map(Path, training_sources(models))]
    text = json.dumps([dataset, *(file.read_text(encoding="utf-8") for file in files)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _set_aside_foreign_checkpoints(folder: Path, origin: str) -> None:
    """Never resume from a checkpoint that another config, dataset or source has left; keep it under another name."""
    mark = folder / "origin.txt"
    if folder.exists() and (not mark.exists() or mark.read_text() != origin):
        number = len(list(folder.parent.glob(f"{folder.name}_superseded_*"))) + 1
        folder.rename(folder.with_name(f"{folder.name}_superseded_{number}"))
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(origin)


def _build(config: Config) -> Runner:
    with explain_build(f"run {config.run_id}"):
        return Runner.from_cfg(config)


def _measure(config: Config, detections: Path) -> dict[str, float | None]:
    annotations = Path(config.test_evaluator.ann_file)
    sizes = tuple(config.run_spec["object_sizes"])
    metrics = average_precision(annotations, detections.with_suffix(".bbox.json"), "box", sizes)
    masks = detections.with_suffix(".segm.json")
    if masks.exists():
        metrics |= average_precision(annotations, masks, "mask", sizes)
    return metrics


def _write_atomically(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.rename(path)


def main() -> None:
    """Train and measure one run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="identity of the dataset, JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", required=True, type=Path, help="receives everything that the libraries print")
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    with arguments.log.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            result = train(arguments.config, json.loads(arguments.dataset.read_text()), arguments.threads)
        except UserError:
            raise
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{arguments.config}: {reason}; details in {arguments.log}") from error
    if is_main_process():
        _write_atomically(arguments.output, result)


if __name__ == "__main__":
    run_or_explain(main)
