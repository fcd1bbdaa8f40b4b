"""Finished run -> archives for an evaluation server: detections on images whose annotations are not public."""

import argparse
import json
import os
import re
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO
from zipfile import ZIP_DEFLATED, ZipFile

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from experiments.errors import UserError, report_user_errors
from experiments.files import replacing
from experiments.spec.datasets import TestSet
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import neck_types
from experiments.training.checkpoints import newest_checkpoint, without_code
from experiments.training.config_formatter import import_formatter
from experiments.training.distributed import join_processes

# Tasks whose results it takes.
OF_OBJECTS = ("detection", "instance_segmentation")


def write_submission(run: Path, scale: Scale, output: Path, threads: int) -> list[Path]:
    """Detect objects in a scale's test images with a run's last checkpoint, and write them in the server's format.

    Parameters
    ----------
    run : Path
        The folder of a finished run.
    scale : Scale
        The scale of the run.
    output : Path
        Receives ``box/detections_<test set>_<name>_results.zip`` and, where the detector has masks, ``mask/`` with the same:
        they are two entries on the server.
    threads : int
        CPU threads of all processes of this machine together.

    Returns
    -------
    list of Path
        The archives; none in the processes beside the main one.

    Raises
    ------
    UserError
        If the run has not finished, or the scale has no test set, or files of it are missing.
    """
    torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    _check_finished(run)
    test_set = _check_test_set(scale)
    config = _finished_config(run, scale)
    join_processes(config)
    with TemporaryDirectory() as folder:
        detections = Path(folder) / "detections"
        _point_to_test_set(config, scale, test_set, detections)
        import_formatter()
        runner = Runner.from_cfg(config)
        runner.register_hook(
            _ProgressHook(f"run {config.run_id} on {test_set.name}", sys.__stderr__ or sys.stderr), priority="LOWEST"
        )
        runner.test()
        return _write_archives(detections, output, _stem(config, test_set)) if is_main_process() else []


def _check_finished(run: Path) -> None:
    if not (run / "metrics.json").exists():
        raise UserError(
            f"run {run.name} has not finished: {run / 'metrics.json'} does not exist; `snakemake {run}/metrics.json` trains a"
            " run, and the ids of a table's runs stand under it"
        )


def _finished_config(run: Path, scale: Scale) -> Config:
    """The config of a finished run, its last checkpoint to be loaded."""
    config = Config.fromfile(run / "config.py")
    if config.task not in OF_OBJECTS:
        allowed = " and ".join(OF_OBJECTS)
        raise UserError(f"run {run.name}: its task is {config.task}; the evaluation server takes boxes and masks of {allowed}")
    if config.run_spec.to_dict()["dataset"] != scale.dataset.model_dump():
        raise UserError(f"run {run.name} was not trained on the dataset of scale {scale.name}; give the scale that it ran at")
    checkpoint = newest_checkpoint(run / "checkpoints")
    last = f"epoch_{config.train_cfg.get('max_epochs', '*')}.pth"
    if checkpoint is None or not checkpoint.match(last):
        raise UserError(
            f"{run / 'checkpoints' / last} does not exist or cannot be read; delete {run / 'metrics.json'} and train it again"
        )
    config.resume, config.load_from = False, str(checkpoint)
    return config


def _check_test_set(scale: Scale) -> TestSet:
    test_set = scale.test_set
    if test_set is None:
        raise UserError(
            f"experiments/scales/{scale.name}.yaml: test_set: scale {scale.name} has none, so nothing can be submitted;"
            " coco has one"
        )
    folder, path = Path(scale.data_folder), Path(scale.data_folder) / test_set.image_info
    remedy = "it comes in image_info_test2017.zip of COCO"
    try:
        content = json.loads(path.read_bytes())
        names = [image["file_name"] for image in content["images"]]
        content["categories"]
    except FileNotFoundError:
        raise UserError(f"list of test images {path} ({path.parent.resolve()}) does not exist; {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not COCO's list of images: {type(error).__name__} {error}; {remedy}") from None
    images = folder / test_set.images
    present = {file.name for file in os.scandir(images)} if images.is_dir() else set()
    missing = [name for name in names if name not in present]
    if missing:
        raise UserError(
            f"test images: {len(missing)} of {len(names)} are missing, such as {images / missing[0]} ({images.resolve()});"
            " they come in test2017.zip of COCO"
        )
    return test_set


def _point_to_test_set(config: Config, scale: Scale, test_set: TestSet, detections: Path) -> None:
    # Keep mmengine's logs out of the run's folder.
    config.work_dir = str(detections.parent / "work")
    config.test_dataloader.dataset.update(ann_file=test_set.image_info, data_prefix={"img": test_set.images})
    config.test_evaluator.update(
        ann_file=scale.data_folder + test_set.image_info, format_only=True, outfile_prefix=str(detections)
    )


def _stem(config: Config, test_set: TestSet) -> str:
    """File name in the server's pattern, with neck, detector, backbone, schedule and run id as the algorithm's name."""
    spec = config.run_spec.to_dict()
    parts = [*neck_types(spec["neck"]), *(spec[part]["name"] for part in ("detector", "backbone", "schedule")), config.run_id]
    # The server splits file names at underscores.
    algorithm = re.sub("[^A-Za-z0-9]+", "-", "-".join(parts))
    return f"detections_{test_set.name}_{algorithm}_results"


def _write_archives(detections: Path, output: Path, stem: str) -> list[Path]:
    archives = []
    for kind, part in (("box", "bbox"), ("mask", "segm")):
        path = detections.with_suffix(f".{part}.json")
        if path.exists():
            archive = output / kind / f"{stem}.zip"
            _write_archive(archive, _entries(json.loads(path.read_bytes()), kind))
            archives.append(archive)
    return archives


def _entries(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Drop the boxes of masks: given both, COCO's code takes an object's size from its box."""
    return found if kind == "box" else [{key: value for key, value in entry.items() if key != "bbox"} for entry in found]


def _write_archive(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, ZipFile(draft, "w", ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.json", json.dumps(entries))


class _ProgressHook(Hook):
    """Show how many images are done."""

    def __init__(self, subject: str, stream: TextIO) -> None:
        self.subject, self.stream = subject, stream

    @master_only
    def before_test(self, runner: Runner) -> None:
        batches = len(runner.test_dataloader)
        self.bar = tqdm(total=batches, desc=self.subject, file=self.stream, mininterval=2, unit="batch")

    @master_only
    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        self.bar.update()

    @master_only
    def after_test(self, runner: Runner) -> None:
        self.bar.close()


def main() -> None:
    """Write the archives of one run for the evaluation server."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scale", required=True, help="that the run ran at")
    parser.add_argument("--trained", required=True, help="when the run finished, for the log")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-file", required=True, type=Path, help="receives everything that the libraries print")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("output", type=Path, help="folder for the archives")
    arguments = parser.parse_args()
    arguments.log_file.parent.mkdir(parents=True, exist_ok=True)
    with arguments.log_file.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        print(f"submission of {arguments.run}, trained {arguments.trained}")
        try:
            with without_code():
                archives = write_submission(arguments.run, load_scale(arguments.scale), arguments.output, arguments.threads)
        except UserError:
            raise
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{arguments.run}: {reason}; details in {arguments.log_file}") from error
    for archive in archives:
        print(f"for the server's entry of {archive.parent.name} detections: {archive}", file=sys.stderr)


if __name__ == "__main__":
    report_user_errors(main)
