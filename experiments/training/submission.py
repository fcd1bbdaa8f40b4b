"""Finished run -> archives for an evaluation server: what it finds in images whose annotations are not public."""

import argparse
import os
import re
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TextIO

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from experiments.errors import UserError, report_user_errors
from experiments.spec.scale import Scale, load_scale
from experiments.spec.setting import neck_types
from experiments.spec.test_sets import LabelMapTestSet, TestSet
from experiments.training.checkpoints import newest_checkpoint, without_code
from experiments.training.config_formatter import import_formatter, without_layout
from experiments.training.distributed import join_processes
from experiments.training.submissions import label_maps, objects


def write_submission(run: Path, scale: Scale, output: Path, threads: int) -> list[Path]:
    """Test a run's last checkpoint on a scale's test images, and write what it finds in the server's format.

    Parameters
    ----------
    run : Path
        The folder of a finished run.
    scale : Scale
        The scale of the run.
    output : Path
        Receives the archives, see the modules of `experiments.training.submissions`.
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
    test_set, server = _check_test_set(scale)
    config = _finished_config(run, scale, server)
    join_processes(config)
    with TemporaryDirectory() as folder:
        # Keep mmengine's logs out of the run's folder.
        config.work_dir = str(Path(folder) / "work")
        server.test_on(config, scale, test_set, Path(folder))
        import_formatter()
        runner = Runner.from_cfg(config)
        runner.register_hook(
            _ProgressHook(f"run {config.run_id} on {test_set.images}", sys.__stderr__ or sys.stderr), priority="LOWEST"
        )
        runner.test()
        return server.write_archives(Path(folder), output, scale, test_set, _algorithm(config)) if is_main_process() else []


def _check_finished(run: Path) -> None:
    if not (run / "metrics.json").exists():
        raise UserError(
            f"run {run.name} has not finished: {run / 'metrics.json'} does not exist; `snakemake {run}/metrics.json` trains a"
            " run, and the ids of a table's runs stand under it"
        )


def _finished_config(run: Path, scale: Scale, server: ModuleType) -> Config:
    """The config of a finished run, its last checkpoint to be loaded."""
    config = without_layout(Config.fromfile(run / "config.py"))
    if config.task not in server.TASKS:
        allowed = " and ".join(server.TASKS)
        raise UserError(f"run {run.name}: its task is {config.task}; the evaluation server takes {server.TAKES} of {allowed}")
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


def _check_test_set(scale: Scale) -> tuple[TestSet, ModuleType]:
    test_set = scale.test_set
    if test_set is None:
        raise UserError(
            f"experiments/scales/{scale.name}.yaml: test_set: scale {scale.name} has none, so nothing can be submitted;"
            " coco and cityscapes have one"
        )
    server = label_maps if isinstance(test_set, LabelMapTestSet) else objects
    server.check(scale, test_set)
    return test_set, server


def _algorithm(config: Config) -> str:
    """Neck, detector, backbone, schedule and run id, for the names of archives."""
    spec = config.run_spec.to_dict()
    parts = [*neck_types(spec["neck"]), *(spec[part]["name"] for part in ("detector", "backbone", "schedule")), config.run_id]
    return re.sub("[^A-Za-z0-9]+", "-", "-".join(parts))


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
        print(f"for the evaluation server: {archive}", file=sys.stderr)


if __name__ == "__main__":
    report_user_errors(main)
