"""Models of a grid -> seconds per image in training, measured by a few steps on random images on this machine."""

import platform
import statistics
from datetime import date

import torch
from mmdet.utils import register_all_modules
from tqdm import tqdm

from experiments.cost.training_steps import require_gpu, seconds_of_steps
from experiments.cost.training_time import TrainingTimeEstimator, probe_key
from experiments.machine import processor
from experiments.records.cost_files import Measurement, Measurements, write_costs
from experiments.records.run_status import RunStatus
from experiments.spec.run import Run

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
    require_gpu(times.scale, "--probe")
    unknown = {
        probe_key(run_status.run): run_status.run for run_status in statuses if times.estimate(run_status).source == "assumed"
    }
    register_all_modules()
    torch.set_num_threads(times.scale.resources.threads)
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
    warm_up, steps = STEPS[device]
    seconds = seconds_of_steps(run, device, warm_up + steps)[warm_up:]
    return Measurement(
        seconds_per_image=statistics.median(seconds) / run.batch_size,
        steps=seconds,
        model=f"{' + '.join(run.setting.neck_types)} in {run.setting.detector}, {run.setting.backbone}",
        batch=run.batch_size,
        image=list(run.scale.complexity_image),
        machine=_machine(device),
        date=date.today().isoformat(),
    )


def _machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
