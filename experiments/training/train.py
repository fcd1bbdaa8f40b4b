"""Config -> metrics: train from the newest checkpoint of the run, measure, and leave ``metrics.json``."""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, get_world_size, is_main_process
from mmengine.runner import Runner

from experiments.errors import UserError, build_errors_as_user_errors, report_user_errors
from experiments.machine import fixed_vector_width, processor
from experiments.paths import PRETRAINED, backbone_file
from experiments.records import provenance
from experiments.records.details import leave_details
from experiments.records.device_locks import keep_devices
from experiments.records.metrics_file import Provenance, RunMetrics, write_metrics
from experiments.records.progress_file import Progress
from experiments.records.run_state import raise_if_failed_for_good, record_exit, run_lock, write_progress
from experiments.spec.dataset_identity import DatasetIdentity, read_identity
from experiments.spec.fingerprint import fingerprints
from experiments.spec.neck_catalog import own_heads
from experiments.spec.run import scaled_learning_rate
from experiments.spec.setting import neck_types
from experiments.tasks.task import Breakdown, load_task
from experiments.training.backbone_weights import refuse_other_backbones
from experiments.training.checkpoints import (
    newest_checkpoint,
    origin_of,
    remove_cut_short,
    set_aside_foreign_checkpoints,
    without_code,
)
from experiments.training.config_formatter import import_formatter, without_layout
from experiments.training.distributed import join_processes, unwrapped
from experiments.training.hooks.gpu_arithmetic import refusals_as_user_errors
from experiments.training.hooks.interruption import CHECKPOINT
from experiments.training.hooks.progress import ProgressHook
from experiments.training.loggers import keep_mlflow_run, use_loggers
from experiments.training.running_clock import RunningClock
from experiments.training.signals import InterruptionError, answer_signals, interrupt, raise_if_told_to_stop

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def train(
    config_file: Path, dataset: DatasetIdentity, threads: int, loggers: Sequence[str] = (), keep_predictions: bool = True
) -> RunMetrics:
    """Train the run of a config file from its newest checkpoint, and test it.

    Parameters
    ----------
    config_file : Path
        Written by `experiments.configs.write`.
    dataset : DatasetIdentity
        Identity of the dataset, from `experiments.data.prepare`.
    threads : int
        CPU threads of all processes of this machine together.
    loggers : sequence of str
        Names of additional loggers, see `experiments.training.loggers`.
    keep_predictions : bool
        Whether the predictions on the test images stay in the run's folder.

    Returns
    -------
    RunMetrics
        Content of ``metrics.json``.

    Raises
    ------
    UserError
        If the neck refuses its options, or the loss is not finite or diverges.
    InterruptionError
        If a signal has ended the training.
    """
    clock = RunningClock()
    started = clock.now()
    torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    # Where the rule `weights` has put what a config names by its URL.
    torch.hub.set_dir(PRETRAINED)
    config = without_layout(Config.fromfile(config_file))
    sources = {**fingerprints(_models(config), config.task), **_backbone_it_begins_with(config)}
    commit = provenance.commit()
    origin = origin_of(config, sources, dataset.plain)
    join_processes(config)
    use_loggers(config, loggers)
    checkpoints = Path(config.work_dir)
    if is_main_process():
        set_aside_foreign_checkpoints(checkpoints, origin)
    barrier()
    checkpoint = newest_checkpoint(checkpoints)
    config.resume, config.load_from = checkpoint is not None, checkpoint and str(checkpoint)
    progress = ProgressHook(sys.__stderr__ or sys.stderr, config_file.parent, clock.now)
    with TemporaryDirectory() as name:
        folder = _of_first_process(Path(name))
        runner, metrics = _train_and_test(config, progress, loggers, folder)
        breakdown = load_task(config.task).breakdown(config, folder) if is_main_process() else Breakdown()
        files = leave_details(config_file.parent, breakdown, metrics, keep_predictions) if is_main_process() else {}
    last = newest_checkpoint(checkpoints)
    if is_main_process() and last and last.name != CHECKPOINT:
        (checkpoints / CHECKPOINT).unlink(missing_ok=True)
    return RunMetrics(
        run=config.run_id,
        spec=config.run_spec.to_dict(),
        metrics=metrics,
        classes=dict(breakdown.classes),
        files=files,
        history=runner.message_hub.get_info("history", []),
        validations=runner.message_hub.get_info("validations", []),
        parameters=sum(parameter.numel() for parameter in runner.model.parameters()),
        dataset=dataset,
        provenance=Provenance(
            date=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=round(clock.now() - started, 1),
            **_training_time(runner),
            resumed_from=checkpoint and checkpoint.name,
            threads=threads,
            **_effective_setting(config),
            seed=config.randomness.seed,
            peak_memory_gib=round(provenance.peak_memory_gib(), 3),
            checkpoint=last and provenance.file_hash(last),
            **commit,
            sources=sources,
            hardware=provenance.hardware(),
            versions=provenance.versions(),
        ),
    )


def _of_first_process(folder: Path) -> Path:
    """The folder of rank 0, into which every rank writes its predictions."""
    folders = [str(folder)]
    broadcast_object_list(folders)
    return Path(folders[0])


def _train_and_test(
    config: Config, progress: ProgressHook, loggers: Sequence[str], folder: Path
) -> tuple[Runner, dict[str, float | None]]:
    """The runner after training and test, and the metrics; no metrics in the ranks beside the first."""
    task = load_task(config.task)
    task.keep_predictions(config, folder)
    runner = _build(config)
    if source := config.run_spec.get("load_from"):
        refuse_other_backbones(unwrapped(runner.model).backbone, source)
    runner.register_hook(progress)
    with refusals_as_user_errors():
        runner.train()
        keep_mlflow_run(loggers)
        logged = runner.test()
    return runner, task.measure(config, logged, folder) if is_main_process() else {}


def _backbone_it_begins_with(config: Config) -> dict[str, str]:
    """File and hash of the weights of another run's backbone, if the run begins with them."""
    run = config.run_spec.get("load_from")
    return {str(backbone_file(run)): provenance.file_hash(backbone_file(run))} if run else {}


def _effective_setting(config: Config) -> dict[str, float]:
    """The global batch size and the learning rate of the training."""
    batch = get_world_size() * config.train_dataloader.batch_size
    rate = scaled_learning_rate(config.optim_wrapper.optimizer.lr, batch, config.auto_scale_lr.base_batch_size)
    return {"effective_batch": batch, "learning_rate": rate}


def _training_time(runner: Runner) -> dict[str, float | None]:
    """Time of the whole training and mean time of an iteration, including the time before resumptions."""
    seconds = runner.message_hub.get_info("training_seconds", 0.0)
    return {"training_seconds": round(seconds, 1), "seconds_per_iteration": seconds / runner.max_iters if seconds else None}


def _models(config: Config) -> list[str]:
    # The config's own name of a neck may say in which library it is found.
    heads = own_heads(config.run_spec.detector.config)
    return [*neck_types(config.run_spec.neck), config.model.backbone.type, *heads]


def _build(config: Config) -> Runner:
    import_formatter()
    with build_errors_as_user_errors(f"run {config.run_id}"):
        return Runner.from_cfg(config)


def _train_or_stop(arguments: argparse.Namespace) -> RunMetrics:
    try:
        with without_code():
            dataset = read_identity(arguments.dataset)
            return train(arguments.config, dataset, arguments.threads, arguments.loggers, arguments.keep_predictions)
    except Exception:
        raise_if_told_to_stop()
        raise


def _train_alone(arguments: argparse.Namespace) -> RunMetrics:
    """Train while holding the run's lock, and record how the training ended; of several ranks one reports it."""
    folder = arguments.config.parent
    raise_if_failed_for_good(folder)
    with run_lock(folder):
        try:
            return _train_or_stop(arguments)
        except InterruptionError as interruption:
            if not is_main_process():
                sys.exit(os.EX_TEMPFAIL)  # rank 0 may still be writing the checkpoint
            record_exit(folder, "preempted", str(interruption))
            raise
        except UserError as error:
            if not record_exit(folder, "failed", str(error), is_certain=True):
                sys.exit(1)
            raise
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                remove_cut_short(folder / "checkpoints")
                reason += "; make room, the checkpoints before are kept and the same command goes on from them"
            if not record_exit(folder, "failed", reason):
                sys.exit(1)
            raise UserError(f"{arguments.config}: {reason}") from error


def main() -> None:
    """Train and measure one run.

    Exit codes: 0 when the metrics are written; 1 after a failure; 75 after a signal, when the same command resumes the
    training.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="identity of the dataset, JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loggers", nargs="*", default=[], help="of the scale")
    parser.add_argument("--keep-predictions", action=argparse.BooleanOptionalAction, default=True, help="of the scale")
    parser.add_argument("--log-file", required=True, type=Path, help="receives everything that the libraries print")
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    _raise_without_the_vectors()
    answer_signals(interrupt)
    keep_devices()
    try:
        _train_and_write(arguments)
    finally:
        answer_signals(signal.SIG_IGN)  # nothing is left to be stopped


def _raise_without_the_vectors() -> None:
    # Before the run is touched: another machine may have them. torch would not ask, and end by an illegal instruction.
    width = fixed_vector_width()
    if width and not torch.cpu._is_avx2_supported():
        raise UserError(
            f"the scale's vector_width is {width}, for which this machine has no instructions ({processor()}):"
            " train on an x86 machine with AVX2, or leave the key out"
        )


def _train_and_write(arguments: argparse.Namespace) -> None:
    arguments.log_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with arguments.log_file.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
            result = _train_alone(arguments)
    except InterruptionError as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except UserError as error:
        raise UserError(f"{error}; details in {arguments.log_file}") from error
    if is_main_process():
        write_metrics(arguments.output, result)
        # The metrics are written, so a failure here does not matter.
        with suppress(OSError):
            write_progress(arguments.config.parent, Progress(state="done"))


if __name__ == "__main__":
    report_user_errors(main)
