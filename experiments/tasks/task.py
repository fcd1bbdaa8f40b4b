"""What every task provides, and how it is found by its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from experiments.spec.run import Run

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from numpy.typing import NDArray
    from torch import Tensor, nn


@dataclass(frozen=True)
class LevelReader:
    """A part of a model that reads the levels of its neck.

    Attributes
    ----------
    name : str
        Where it stands in the model.
    strides : list of int
        The strides that it was built for, pixels of the image per pixel of a level, finest first.
    reads_all : bool
        Whether it needs exactly these levels; others read the finest of them and leave the rest.
    """

    name: str
    strides: list[int]
    reads_all: bool


@dataclass(frozen=True)
class Breakdown:
    """What stands behind the metrics of a run. A task leaves out what it does not have.

    Attributes
    ----------
    predictions : Path or None
        File of the predictions on the test images, JSON, to be kept with the run.
    replicates : dict
        Metric to its values on every resample of the test images, the first on the images themselves; see
        `experiments.bootstrap.resamples`.
    classes : dict
        Class to metric to value; None where the class has no object.
    """

    predictions: Path | None = None
    replicates: "Mapping[str, NDArray[np.float64]]" = field(default_factory=dict)
    classes: Mapping[str, dict[str, float | None]] = field(default_factory=dict)


class Task(Protocol):
    """What is predicted, from what data, and how it is judged.

    A task is a file ``experiments/tasks/<name>.py`` with an object `TASK`, and a line in `experiments.spec.metrics.TASKS`.
    Configs are written by many short processes, so what needs torch is best imported inside of the methods.
    """

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules whose import registers what the configs name, beside necks and hooks."""

    @property
    def class_heads(self) -> tuple[str, ...]:
        """Keys of the model's heads with an output for each class; they are sized by the dataset's classes."""

    def train_dataset(self, run: Run) -> dict[str, Any]:
        """Config of the training split with its pipeline.

        Parameters
        ----------
        run : Run
            The run.
        """

    def test_dataset(self, run: Run) -> dict[str, Any]:
        """Config of the validation split with its pipeline.

        Parameters
        ----------
        run : Run
            The run.
        """

    def evaluator(self, run: Run) -> dict[str, Any] | list[dict[str, Any]]:
        """Config of the metric, for validation and test.

        Parameters
        ----------
        run : Run
            The run.
        """

    def validation_metrics(self, logged: Mapping[str, float]) -> dict[str, float]:
        """What a validation during training has found, under the names of `TASKS`.

        Parameters
        ----------
        logged : dict
            Names and values as the evaluator logs them.
        """

    def keep_predictions(self, config: "Config", folder: Path) -> None:
        """Let the test write what `measure` reads.

        Parameters
        ----------
        config : Config
            The run's config, to be changed.
        folder : Path
            An empty folder.
        """

    def measure(self, config: "Config", logged: Mapping[str, float], folder: Path) -> dict[str, float | None]:
        """The metrics of a finished run, under the names of `TASKS`; None where the data have nothing to measure.

        Parameters
        ----------
        config : Config
            The run's config.
        logged : dict
            What the test has logged.
        folder : Path
            The folder of `keep_predictions`.
        """

    def breakdown(self, config: "Config", folder: Path) -> Breakdown:
        """What stands behind the metrics: predictions, resamples, classes.

        Parameters
        ----------
        config : Config
            The run's config.
        folder : Path
            The folder of `keep_predictions`.
        """

    def return_float32(self, model: "nn.Module") -> None:
        """Under bfloat16 autocast, let the model compute in float32 what bfloat16 is too coarse or not implemented for.

        Parameters
        ----------
        model : nn.Module
            The model to be trained.
        """

    def run_every_layer(self, model: "nn.Module", image: "Tensor") -> None:
        """Run all that is counted, also on the meta device, where nothing can be predicted.

        Parameters
        ----------
        model : nn.Module
            The model.
        image : Tensor
            (1, 3, H, W).
        """

    def level_readers(self, model: "nn.Module") -> list[LevelReader]:
        """What reads the neck's levels and says of which strides they must be.

        Parameters
        ----------
        model : nn.Module
            The model.
        """

    def predict(self, model: "nn.Module", image: "Tensor") -> None:
        """Run all that is timed: one image from its pixels to its predictions.

        Parameters
        ----------
        model : nn.Module
            The model, with random weights.
        image : Tensor
            (1, 3, H, W).
        """

    def random_batch(self, run: Run, model: "nn.Module", device: str) -> dict[str, Any]:
        """A batch of random images and annotations that a training step accepts.

        Parameters
        ----------
        run : Run
            The run that gives the size of the batch and of its images.
        model : nn.Module
            The model to be trained.
        device : str
            Device of the tensors.
        """


def load_task(name: str) -> Task:
    """The task of a name.

    Parameters
    ----------
    name : str
        A key of `experiments.spec.metrics.TASKS`.
    """
    return cast(Task, import_module(f"experiments.tasks.{name}").TASK)
