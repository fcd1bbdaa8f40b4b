"""A scale: the dataset, image size, model width and length of training at which a study is run."""

import math
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from experiments.errors import UserError
from experiments.paths import DATASETS, SCALES
from experiments.spec.dataset_files import LabelledImages, LabelMaps, ObjectFiles, PanopticFiles
from experiments.spec.dataset_identity import read_identity
from experiments.spec.datasets import Dataset, ExpectedSplit
from experiments.spec.fingerprint import task_file
from experiments.spec.known_classes import COCO_CLASSES
from experiments.spec.metrics import LEARNS_FROM, TASKS
from experiments.spec.test_sets import LabelMapTestSet, TestSet
from experiments.spec.yaml_models import StrictModel, left_out_of_identity, load_yaml, validate

Files = TypeVar("Files")
# A scale that inherits from the paper's setting is no longer the paper's setting.
NOT_INHERITED = ("paper_setting",)
# Keys that describe one dataset and are dropped when `dataset` is replaced.
OF_A_DATASET = ("expected_splits", "test_set")


class Detector(StrictModel):
    """An mmdet config to inherit from and the changes that this scale makes to it.

    Attributes
    ----------
    task : str or None
        Task, a name of `TASKS`; None: instance segmentation if `masks`, else detection.
    masks : bool
        Whether training needs the objects' masks.
    stuff_maps : bool
        Whether training needs a map of stuff and things for each image, COCO-Stuff's.
    num_outs : int or None
        Number of the neck's levels, where the model reads another number than the scale's other models.
    out_channels : int or None
        Their channels, where the model reads others.
    neck_at : str
        Where the neck stands in the model's config, keys joined by points, such as ``decode_head.neck``.
    neck_in_channels : list of int or None
        Channels of the levels that the neck reads, where these are not the backbone's.
    """

    base: str
    config: dict[str, Any] = {}
    task: str | None = left_out_of_identity(None)
    masks: bool = left_out_of_identity(True)
    stuff_maps: bool = left_out_of_identity(False)
    num_outs: PositiveInt | None = left_out_of_identity(None)
    out_channels: PositiveInt | None = left_out_of_identity(None)
    neck_at: str = Field("neck", pattern=r"^[a-z_]+(\.[a-z_]+)*$", exclude_if=lambda place: place == "neck")
    neck_in_channels: list[PositiveInt] | None = left_out_of_identity(None)

    @field_validator("task")
    @classmethod
    def _task_exists(cls, task: str | None) -> str | None:
        if task is not None and task not in TASKS:
            raise ValueError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
        if task is not None and not task_file(task).is_file():
            raise ValueError(f"task {task!r} needs the file {task_file(task)}, which does not exist")
        return task

    @property
    def task_name(self) -> str:
        """Name of the task, a key of `TASKS`."""
        return self.task or ("instance_segmentation" if self.masks else "detection")


class Backbone(StrictModel):
    """The channels of a backbone's levels, finest first, and the changes to the detector's own backbone.

    Attributes
    ----------
    data_preprocessor : dict
        Preprocessing that its weights expect: mean, std, order of the colour channels.
    """

    in_channels: list[PositiveInt]
    config: dict[str, Any] = {}
    data_preprocessor: dict[str, Any] = left_out_of_identity({})


class Schedule(StrictModel):
    """Length of training and mmengine's parameter schedulers.

    Attributes
    ----------
    epochs : int or None
        Passes over the training images.
    iterations : int or None
        Steps, where a recipe counts these; the last pass over the images then ends within. Batches are always whole.
    batch_size : int or None
        Images per process, where the schedule has another number than its scale.
    base_batch_size : int or None
        Images per step that its learning rate is meant for, where that is another number than the scale's.
    short_sides : (int, int) or None
        Range in pixels from which the shorter side of each training image is drawn; None takes the scale's image size.
    long_side : int or None
        Limit in pixels of the longer side where the shorter is drawn; None takes the scale's.
    polygons : bool
        Whether masks stay polygons until they are cut out for the mask head; else they are rasterised when they are loaded.
    resize_ratios : (float, float) or None
        Range of factors of an image size, from which the size of each training image is drawn.
    resize_scale : (int, int) or None
        That image size, width and height in pixels; None takes the scale's.
    crop : (int, int) or None
        Height and width in pixels that are cut out of each training image; where labels of pixels are learned, one class may
        have three quarters of them, and where images have one label, it is the size of all, and the middle is measured.
    padding : int or None
        Pixels of black around an image of which a part of its own size is cut out for training, where images have one label.
    photometric : bool
        Whether brightness, contrast, saturation and hue of training images are distorted at random, as SSD does.
    albumentations : list of dict
        Transforms of albumentations, each with its name as `type`, for training images of objects and their boxes, without
        those that lose all of them, or of one label.
    config : dict
        The schedule's changes to the config, such as the optimiser.
    """

    epochs: PositiveInt | None = None
    iterations: PositiveInt | None = left_out_of_identity(None)
    param_scheduler: list[dict[str, Any]]
    batch_size: PositiveInt | None = left_out_of_identity(None)
    base_batch_size: PositiveInt | None = Field(None, exclude=True)
    short_sides: tuple[PositiveInt, PositiveInt] | None = left_out_of_identity(None)
    long_side: PositiveInt | None = left_out_of_identity(None)
    polygons: bool = left_out_of_identity(False)
    resize_ratios: tuple[PositiveFloat, PositiveFloat] | None = left_out_of_identity(None)
    resize_scale: tuple[PositiveInt, PositiveInt] | None = left_out_of_identity(None)
    crop: tuple[PositiveInt, PositiveInt] | None = left_out_of_identity(None)
    padding: PositiveInt | None = left_out_of_identity(None)
    photometric: bool = left_out_of_identity(False)
    albumentations: list[dict[str, Any]] = left_out_of_identity([])
    config: dict[str, Any] = left_out_of_identity({})

    @model_validator(mode="after")
    def _length_is_said_once(self) -> Self:
        if (self.epochs is None) == (self.iterations is None):
            found = "neither" if self.epochs is None else "both"
            raise ValueError(f"epochs, iterations: found {found}; allowed: one of them")
        return self

    @property
    def length_in_words(self) -> str:
        """Its epochs or its iterations, with the unit."""
        length, unit = (self.epochs, "epoch") if self.epochs else (self.iterations or 0, "iteration")
        return f"{length:,} {unit}{'s' * (length > 1)}"

    def length(self, batches: int) -> int:
        """Steps of a training.

        Parameters
        ----------
        batches : int
            Batches of a pass over the images.
        """
        return self.iterations or (self.epochs or 0) * batches

    def passes(self, batches: int) -> int:
        """Passes over the images, the last one whole or not.

        Parameters
        ----------
        batches : int
            Batches of a pass over the images.
        """
        return self.epochs or math.ceil((self.iterations or 0) / batches)


class Training(StrictModel):
    """How a training is computed. Each option changes the result, if only by rounding.

    Attributes
    ----------
    base_batch_size : int or None
        Images per step of all processes together that the learning rate is meant for; with another number of them it is
        multiplied by their ratio (linear rule, arXiv 1706.02677). None: meant for whatever number there is.
    precision : {'float32', 'bfloat16'}
        Precision of the forward pass, by autocast; parameters, losses and inputs of mmcv's operators stay float32.
    channels_last : bool
        Whether weights and feature maps keep the channels of a pixel beside each other in memory.
    gradient_checkpointing : list of str
        Parts of the model, such as ``backbone.layer3`` or ``neck``, whose inner results are computed again in the backward pass
        instead of kept.
    tf32 : {'convolutions', 'all', 'none'}
        What rounds its factors to TF32 on a GPU; torch's own choice are convolutions.
    cudnn_benchmark : bool
        Whether cuDNN measures, for each new size of images on a GPU, which of its algorithms is fastest.
    deterministic : bool
        Whether only operators compute whose results repeat; on the CPU all do.
    """

    base_batch_size: PositiveInt | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    gradient_checkpointing: list[str] = []
    tf32: Literal["convolutions", "all", "none"] = "convolutions"
    cudnn_benchmark: bool = False
    deterministic: bool = False

    @model_validator(mode="after")
    def _what_repeats_does_not_choose_by_time(self) -> Self:
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError("deterministic and cudnn_benchmark exclude each other: leave one of the two out")
        return self

    @property
    def of_gpus(self) -> list[str]:
        """Its options that only GPUs know and that are not the usual."""
        return [name for name in ("tf32", "cudnn_benchmark") if getattr(self, name) != type(self).model_fields[name].default]


class Resources(StrictModel):
    """Resources of one training. They do not change its result beyond rounding.

    Attributes
    ----------
    vector_width : 256 or None
        Bits of the CPU's vectors that a training uses: with 256 (AVX2) every x86 machine computes the same bits; None takes the
        widest that the machine has. Only for trainings on the CPU.
    check_gpus : bool
        Whether a short job tries the GPUs before any training is submitted; only where trainings ask for GPUs.
    """

    threads: PositiveInt = 1
    workers: int = Field(0, ge=0)
    gpus: int = Field(0, ge=0)
    memory_mb: PositiveInt = 4000
    runtime_minutes: PositiveInt = 60
    check_gpus: bool = True
    vector_width: Literal[256] | None = None

    @model_validator(mode="after")
    def _vectors_are_the_cpus(self) -> Self:
        if self.vector_width and self.gpus:
            raise ValueError(f"vector_width is for trainings on the CPU, but gpus is {self.gpus}: leave one of the two out")
        return self


class Scale(StrictModel):
    """One file of ``experiments/scales/``.

    Attributes
    ----------
    base : str or None
        Another scale, from which this one inherits what it does not say itself.
    image_scale : (int, int)
        Width and height in pixels into which images are fitted with kept aspect ratio.
    paper_setting : bool
        Whether the published numbers may be compared with what runs here.
    expected_splits : dict
        Expected content of a complete dataset, if it is known.
    object_sizes : (float, float)
        Square roots, in pixels, of the areas that separate small from medium and medium from large objects.
    batch_size : int
        Images per process.
    validation_interval : int or None
        Epochs between validations during training; None measures after training only.
    training : Training
        Precision, memory layout and the like.
    loggers : list of str
        Loggers that receive losses and metrics of each training beside its own folder; they do not change its result.
    assumed_seed_sd : float or None
        Standard deviation of average precisions over seeds that is assumed where no row of a table has two.
    keep_predictions : bool
        Whether the predictions on the test images stay in each run's folder; they do not change its result.
    test_ratios : list of float
        Factors of the image size at which images are labelled a second time, plain and mirrored, for the metrics of several
        scales; none: they are not. They do not change the training, and no other metric.
    protocols : list of {'voc', 'visdrone'}
        Other rules than COCO's, by which boxes of detection are measured too; they do not change the training.
    test_set : ObjectTestSet, LabelMapTestSet or None
        Test images for submissions to an evaluation server.
    complexity_image : (int, int)
        Height and width in pixels at which parameters, FLOPs and speed are measured.
    """

    name: str
    base: str | None = None
    title: str
    paper_setting: bool = False
    image_scale: tuple[PositiveInt, PositiveInt]
    dataset: Dataset
    test_set: TestSet | None = None
    expected_splits: dict[Literal["train", "val"], ExpectedSplit] = {}
    out_channels: PositiveInt
    num_outs: PositiveInt = 5
    object_sizes: tuple[float, float] = (32, 96)
    batch_size: PositiveInt
    validation_interval: PositiveInt | None = None
    detectors: dict[str, Detector]
    backbones: dict[str, Backbone]
    schedules: dict[str, Schedule]
    config: dict[str, Any] = {}
    training: Training = Training()
    loggers: list[Literal["tensorboard", "mlflow", "wandb"]] = []
    assumed_seed_sd: PositiveFloat | None = None
    keep_predictions: bool = True
    test_ratios: list[PositiveFloat] = []
    protocols: list[Literal["voc", "visdrone"]] = []
    complexity_image: tuple[PositiveInt, PositiveInt]
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _test_set_numbers_each_class(self) -> Self:
        if not isinstance(self.test_set, LabelMapTestSet):
            return self
        labels = self.dataset.label_maps
        if labels is None:
            raise ValueError("test_set: class_ids: found for a dataset without label maps; allowed: name, image_info, images")
        if len(self.test_set.class_ids) != len(labels.classes):
            found, allowed = len(self.test_set.class_ids), len(labels.classes)
            raise ValueError(f"test_set: class_ids: found {found}; allowed: {allowed}, one for each class of the dataset")
        return self

    @model_validator(mode="after")
    def _arithmetic_of_gpus_needs_gpus(self) -> Self:
        if self.training.of_gpus and not self.resources.gpus:
            raise ValueError(f"training: {', '.join(self.training.of_gpus)}: for trainings on GPUs, but resources: gpus is 0")
        return self

    @property
    def offered_detectors(self) -> dict[str, Detector]:
        """The detectors that can learn from the dataset; a scale inherits others too."""
        return {
            name: detector
            for name, detector in self.detectors.items()
            if getattr(self.dataset, LEARNS_FROM.get(detector.task_name, "objects")) is not None
        }

    @property
    def label_maps(self) -> LabelMaps:
        """The label maps of the dataset, for tasks that learn from them."""
        return _there(self.dataset.label_maps)

    @property
    def objects(self) -> ObjectFiles:
        """The annotations of objects of the dataset, for tasks that learn from them."""
        return _there(self.dataset.objects)

    @property
    def panoptic(self) -> PanopticFiles:
        """The panoptic annotations of the dataset, for tasks that learn from them."""
        return _there(self.dataset.panoptic)

    @property
    def labelled_images(self) -> LabelledImages:
        """The images of the dataset that have one label each, for tasks that learn from them."""
        return _there(self.dataset.labelled_images)

    @property
    def data_folder(self) -> str:
        """Where the dataset is drawn or linked, relative to the project, with a trailing slash."""
        return f"{DATASETS}/{self.name}/"

    @property
    def dataset_file(self) -> Path:
        """The file with the identity of the checked dataset."""
        return DATASETS / f"{self.name}.json"

    @property
    def classes(self) -> list[str]:
        """Names of the dataset's classes, in the order of their labels.

        Raises
        ------
        UserError
            If they come from annotations that have not been read yet.
        """
        classes = self.dataset.classes
        if classes == "annotations":
            return self._recorded_classes()
        return list(COCO_CLASSES) if classes is None else list(classes)

    def _recorded_classes(self) -> list[str]:
        try:
            classes = read_identity(self.dataset_file).classes
        except FileNotFoundError:
            raise UserError(
                f"scale {self.name} takes its classes from the annotations, which have not been read yet: run"
                f" snakemake {self.dataset_file} first"
            ) from None
        if classes is None:
            raise UserError(f"{self.dataset_file} holds no classes: delete it and run snakemake {self.dataset_file}")
        return classes


def _there(files: Files | None) -> Files:
    assert files is not None, "detectors that cannot learn from the dataset are not offered"
    return files


def load_scale(name: str) -> Scale:
    """Read ``experiments/scales/<name>.yaml``, over the scale that its key `base` names.

    Raises
    ------
    UserError
        If there is no such scale or its file is wrong.
    """
    return validate(_with_inherited(name, ()) | {"name": name}, Scale, str(SCALES / f"{name}.yaml"))


def _with_inherited(name: str, heirs: tuple[str, ...]) -> dict[str, Any]:
    """The keys of a scale's file, and those that it inherits from its `base`."""
    path = SCALES / f"{name}.yaml"
    data = load_yaml(path)
    base = data.get("base")
    if base is None:
        return data
    if not isinstance(base, str):
        raise UserError(f"{path}: base: expected the name of a scale, found {base!r}")
    if base in (name, *heirs):
        raise UserError(f"{path}: base: {base} inherits from itself")
    left_out = {*NOT_INHERITED, *(OF_A_DATASET if "dataset" in data else ())}
    inherited = {key: value for key, value in _with_inherited(base, (name, *heirs)).items() if key not in left_out}
    if "kind" in (data.get("dataset") or {}):
        inherited.pop("dataset", None)
    return _merged(inherited, data)


def _merged(inherited: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Own values over inherited ones, mapping by mapping; a list replaces a list as a whole."""
    both = {key for key in own.keys() & inherited.keys() if isinstance(own[key], dict) and isinstance(inherited[key], dict)}
    return inherited | own | {key: _merged(inherited[key], own[key]) for key in both}
