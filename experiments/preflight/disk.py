"""Pre-flight check of the disk space for the runs' checkpoints and predictions."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.configs.build import build_empty_model, load_config
from experiments.errors import UserError, report_user_errors
from experiments.files import write_atomically
from experiments.paths import RUNS
from experiments.preflight.arguments import read_arguments
from experiments.spec.run import Run

BYTES_OF_VALUE = 4
# Values per weight in an optimiser's state: SGD's momentum, Adam's two moments.
OPTIMIZER_VALUES = {"SGD": 1, "Adam": 2, "AdamW": 2}
COUNTED_MODELS = 100
# Compressed predictions on a test image; COCO's have 36 detections with masks each.
PREDICTION_BYTES = {True: 9_000, False: 3_000}
COCO_VAL_IMAGES = 5_000


def check_disk(runs: Sequence[Run]) -> dict[str, Any]:
    """Check that the checkpoints and predictions of runs fit on the disk. Quotas are not considered.

    Parameters
    ----------
    runs : sequence of Run
        Runs to train; checkpoints that they have saved already are counted.

    Returns
    -------
    dict
        Numbers of runs and bytes: needed and free.

    Raises
    ------
    UserError
        If they do not fit.
    """
    demands = _demands(runs)
    saved = [sum(path.stat().st_size for path in (run.folder / "checkpoints").glob("epoch_*.pth")) for run in runs]
    # A new checkpoint is written before the oldest is removed.
    largest = max((demand.checkpoint_bytes for demand in demands), default=0)
    needed = largest + sum(max(0, demand.total - there) for demand, there in zip(demands, saved, strict=True))
    needed += sum(map(prediction_bytes, runs))
    folder = RUNS if RUNS.exists() else Path()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.resolve()} has {_gib(free)} GiB free, but checkpoints and predictions of the {len(runs)} runs to train"
            f" need about {_gib(needed)} GiB more, up to {_gib(largest)} GiB each: free space, let {RUNS}/ be a link to a"
            " larger disk, or ask for fewer tables, studies or seeds"
        )
    return {"runs": len(runs), "needed_bytes": round(needed), "free_bytes": free}


@dataclass(frozen=True)
class CheckpointSize:
    """Disk space of a run's checkpoints."""

    checkpoint_bytes: float
    kept: int

    @property
    def total(self) -> float:
        """Bytes of all that are kept."""
        return self.kept * self.checkpoint_bytes


def checkpoint_size(run: Run) -> CheckpointSize:
    """Count the values in a checkpoint: weights, and the optimiser's state of the trained weights.

    Parameters
    ----------
    run : Run
        The run; its model is built without memory for its weights.
    """
    config = load_config(run)
    model = build_empty_model(run)
    weights = sum(tensor.numel() for tensor in model.state_dict().values())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    values = weights + trained * OPTIMIZER_VALUES.get(config.optim_wrapper.optimizer.type, max(OPTIMIZER_VALUES.values()))
    kept = config.default_hooks.checkpoint.max_keep_ckpts
    return CheckpointSize(BYTES_OF_VALUE * values, min(kept, config.train_cfg.get("max_epochs", kept)))


def prediction_bytes(run: Run) -> int:
    """Disk space of the predictions that a run will keep, about.

    Parameters
    ----------
    run : Run
        The run.
    """
    scale = run.scale
    if not scale.keep_predictions:
        return 0
    if scale.dataset.image_counts:
        images = scale.dataset.image_counts[1]
    else:
        images = scale.expected_splits["val"].images if "val" in scale.expected_splits else COCO_VAL_IMAGES
    return images * PREDICTION_BYTES[scale.detectors[run.setting.detector].masks]


def _demands(runs: Sequence[Run]) -> list[CheckpointSize]:
    """Checkpoint size of each run.

    Equal models are counted once; of very many models an evenly spread sample is counted, and its mean stands for the rest.
    """
    by_model = {_model_key(run): run for run in runs}
    chosen = list(by_model.items())[:: -(-len(by_model) // COUNTED_MODELS) or 1]
    counted = {key: checkpoint_size(run) for key, run in tqdm(chosen, desc="counting checkpoints", unit="model", mininterval=1)}
    if not counted:
        return []
    mean = CheckpointSize(
        sum(demand.checkpoint_bytes for demand in counted.values()) / len(counted),
        max(demand.kept for demand in counted.values()),
    )
    return [counted.get(_model_key(run), mean) for run in runs]


def _model_key(run: Run) -> str:
    return run.setting.model_dump_json()


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"


def main() -> None:
    """Check disk space and write what was found."""
    runs, output = read_arguments(main.__doc__)
    write_atomically(output, check_disk([run for run in runs if not run.metrics_file.exists()]))


if __name__ == "__main__":
    report_user_errors(main)
