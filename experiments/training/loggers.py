"""Loggers of a training: TensorBoard, MLflow and Weights & Biases, through mmengine's backends."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from experiments.errors import UserError

PROJECT = "feature-pyramid-ablations"
FOLDER = Path("loggers")
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}


def use_loggers(config: Config, loggers: Sequence[str]) -> None:
    """Add backends to a config's visualiser, to which mmengine's logger hook sends every loss and metric.

    Parameters
    ----------
    config : Config
        A run's config, changed in place.
    loggers : sequence of str
        'tensorboard' (event files in the run's folder), 'mlflow' (one store for all runs, ``loggers/mlflow``), 'wandb'.

    Raises
    ------
    UserError
        If the package of one is not installed.
    """
    for logger in loggers:
        if importlib.util.find_spec(PACKAGES[logger]) is None:
            raise UserError(
                f"the scale asks for logger {logger!r}, whose package is not installed: pip install {PACKAGES[logger]}"
            )
    if "mlflow" in loggers:
        # MLflow refuses its file store, which needs no server, unless this is set.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    backends = [_backend(logger, config.run_id) for logger in loggers]
    config.visualizer.vis_backends = [*config.visualizer.vis_backends, *backends]


def keep_mlflow_run(loggers: Sequence[str]) -> None:
    """Log the final test to the training's MLflow run, which mmengine has closed.

    Parameters
    ----------
    loggers : sequence of str
        Names of loggers, see `use_loggers`.
    """
    if "mlflow" not in loggers:
        return
    import mlflow

    last = mlflow.last_active_run()
    if last is not None:
        os.environ["MLFLOW_RUN_ID"] = last.info.run_id


def _backend(logger: str, run: str) -> dict[str, Any]:
    if logger == "tensorboard":
        return {"type": "TensorboardVisBackend"}
    if logger == "mlflow":
        folder = str(FOLDER / "mlflow")
        keys = ["run_id", "run_spec"]
        return {
            "type": "MLflowVisBackend",
            "save_dir": folder,
            "exp_name": PROJECT,
            "run_name": run,
            "tracked_config_keys": keys,
        }
    # The same id lets a resumed training continue the same curve.
    init = {"project": PROJECT, "id": run, "name": run, "resume": "allow"}
    return {"type": "WandbVisBackend", "save_dir": str(FOLDER / "wandb"), "init_kwargs": init}
