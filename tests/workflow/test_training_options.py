"""A training with every option that a scale has, followed elsewhere."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import Training

pytestmark = pytest.mark.long


def test_a_training_in_bfloat16_is_validated_and_followed_by_tensorboard_and_mlflow(project):
    def change(scale):
        scale["training"] = {
            "precision": "bfloat16",
            "channels_last": True,
            "gradient_checkpointing": ["backbone.layer2", "neck"],
            "deterministic": True,
        }
        scale["loggers"] = ["tensorboard", "mlflow"]
        scale["validation_interval"] = 1
        # A line in the log, and with it a point of each curve, for every iteration.
        scale["config"]["default_hooks"] = {"logger": {"interval": 1}}

    project.change_yaml("experiments/scales/instant.yaml", change)
    training = Training(project, processes=1)
    result = project.snakemake(f"runs/{training.run}/metrics.json")
    assert result.returncode == 0, result.stderr
    recorded = json.loads((training.folder / "metrics.json").read_text())

    validated = json.loads((training.folder / "progress.json").read_text())["metrics"]
    assert validated == {name: pytest.approx(recorded["metrics"][name], abs=0.051) for name in ("box_AP", "mask_AP")}

    events = [EventAccumulator(str(path.parent)).Reload() for path in training.folder.glob("**/events.out.tfevents*")]
    losses = [event.value for log in events if "loss" in log.Tags()["scalars"] for event in log.Scalars("loss")]
    assert len(losses) == 9
    last = recorded["history"][-1]["loss"]
    assert abs(losses[-1] - last) < 0.3 * last

    runs = [path.parent.parent for path in project.folder.glob("loggers/mlflow/*/*/tags/mlflow.runName")]
    assert [(folder / "tags/mlflow.runName").read_text() for folder in runs] == [training.run]
    values = [float(line.split()[1]) for line in (runs[0] / "metrics/loss").read_text().splitlines()]
    assert [round(value, 4) for value in values] == [round(loss, 4) for loss in losses]


def test_a_logger_whose_package_is_missing_is_named(project):
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(loggers=["wandb"]))
    training = Training(project, processes=1)
    result = project.snakemake(f"runs/{training.run}/metrics.json")
    assert result.returncode != 0
    assert "logger 'wandb', whose package is not installed: pip install wandb" in result.stderr
