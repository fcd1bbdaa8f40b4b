"""Models of a grid -> seconds per image in training, measured by a few steps on random images on this machine."""

import platform
import statistics
import time
from datetime import date
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn
from tqdm import tqdm

from experiments.configs.build import build_model, load_config
from experiments.cost.training_time import TrainingTimeEstimator, probe_key
from experiments.errors import UserError
from experiments.machine import processor
from experiments.records.cost_files import Measurement, Measurements, write_costs
from experiments.records.run_status import RunStatus
from experiments.spec.run import Run
from experiments.tasks.task import load_task

# Warm-up steps choose algorithms and fill memory pools; (warm-up, measured).
STEPS = {"cpu": (1, 3), "cuda": (3, 10)}


def probe(times: TrainingTimeEstimator, statuses: list[RunStatus]) -> None:
    """Measure every model that was neither recorded nor measured before; each result is saved at once.

    Parameters
    ----------
    times : TrainingTimeEstimator
        The estimator; its file takes the measurements, and it uses them afterwards.
    statuses : list of RunStatus
        Statuses of the runs whose models are measured.

    Raises
    ------
    UserError
        If the scale trains on GPUs and torch sees none, or a model cannot be built.
    """
    resources = times.scale.resources
    if resources.gpus and not torch.cuda.is_available():
        raise UserError(
            f"--probe: scale {times.scale.name} trains on GPUs and torch sees none here; call it on a node with a GPU"
        )
    unknown = {
        probe_key(run_status.run): run_status.run for run_status in statuses if times.estimate(run_status).source == "assumed"
    }
    register_all_modules()
    torch.set_num_threads(resources.threads)
    measured = dict(times.probed)
    try:
        for key, run in tqdm(unknown.items(), desc=f"probing at scale {times.scale.name}", unit="model"):
            measured[key] = measure(run)
            times.probe_file.parent.mkdir(parents=True, exist_ok=True)
            write_costs(times.probe_file, Measurements(measured))
    except KeyboardInterrupt:
        done = sum(key in measured for key in unknown)
        print(f"stopped; {done} of {len(unknown)} models are kept in {times.probe_file}, the next --probe goes on")
    times.probed = measured


def measure(run: Run) -> Measurement:
    """Seconds per image of one process in training, the median over a few steps.

    Parameters
    ----------
    run : Run
        The run that gives model, batch size and optimiser; weights and images are random.
    """
    device = "cuda" if run.scale.resources.gpus else "cpu"
    model = revert_sync_batchnorm(build_model(run)).to(device).train()
    optimiser = build_optim_wrapper(model, load_config(run).optim_wrapper)
    batch = load_task(run.task).random_batch(run, model, device)
    warm_up, steps = STEPS[device]
    seconds = [_seconds_of_step(model, optimiser, batch, device) for _ in range(warm_up + steps)][warm_up:]
    return Measurement(
        seconds_per_image=statistics.median(seconds) / run.batch_size,
        steps=seconds,
        model=f"{' + '.join(run.setting.neck_types)} in {run.setting.detector}, {run.setting.backbone}",
        batch=run.batch_size,
        image=list(run.scale.complexity_image),
        machine=_machine(device),
        date=date.today().isoformat(),
    )


def _seconds_of_step(model: nn.Module, optimiser: OptimWrapper, batch: dict[str, Any], device: str) -> float:
    _wait(device)
    started = time.perf_counter()
    model.train_step(batch, optimiser)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
