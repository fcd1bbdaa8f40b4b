"""Every task with the metrics that it gives, and every other metric that a column of a table can show: a line each."""

from dataclasses import dataclass
from typing import Literal

Origin = Literal["run", "server", "cost", "paper"]


@dataclass(frozen=True)
class Metric:
    """A metric: where it comes from, and how it is printed and compared.

    Attributes
    ----------
    name : str
        Its key in studies and results.
    origin : {'run', 'server', 'cost', 'paper'}
        Who gives it: a run's test, an evaluation server's answer, a count or clock at the paper's scale, or the paper alone.
    unit : float
        Divisor of a measured value before it is printed.
    decimals : int or None
        Digits after the point; None prints as many as the paper, one at least.
    significant : int or None
        Significant digits, for numbers that span orders of magnitude; they are not rounded before they are compared.
    lower_is_better : bool
        Whether the smallest value leads its column.
    is_tested : bool
        Whether the gain over the baseline is tested for significance over the seeds.
    adds : (str, str) or None
        Name and heading of the metric that a report shows beside it.
    label : str or None
        Name and unit in figures; None for metrics that no figure shows.
    """

    name: str
    origin: Origin
    unit: float = 1.0
    decimals: int | None = None
    significant: int | None = None
    lower_is_better: bool = False
    is_tested: bool = False
    adds: tuple[str, str] | None = None
    label: str | None = None

    @property
    def is_percentage(self) -> bool:
        """Whether values lie between 0 and 100."""
        return self.origin != "cost" and not self.name.startswith("quoted_")

    def fault_of_published(self, number: float) -> str | None:
        """Why a published number cannot be right; None if it can.

        Parameters
        ----------
        number : float
            The number as printed.
        """
        if not self.is_percentage:
            return None if number > 0 else "allowed: above 0"
        # Of metrics that nothing here measures, some papers print fractions.
        if 0 < number < 1 and self.origin != "paper":
            return f"allowed: percent, from 0 to 100; a fraction is written as {100 * number:g}"
        return None if 0 <= number <= 100 else "allowed: percent, from 0 to 100"

    @property
    def is_timed(self) -> bool:
        """Whether a clock gives it, in several rounds of all rows."""
        return self.name in ("fps", "fps_ratio")

    @property
    def group(self) -> str:
        """What it has in common with metrics beside it: boxes, masks, cost, or nothing."""
        words = self.name.removeprefix("test_").partition("_")[0]
        return "cost" if self.origin == "cost" else {"box": "boxes", "mask": "masks"}.get(words, "")

    @property
    def short_label(self) -> str:
        """The label without its unit."""
        return (self.label or self.name).partition(" (")[0]


AVERAGE_PRECISIONS = ("AP", "AP50", "AP75", "APS", "APM", "APL")


def _average_precisions(kind: str) -> tuple[Metric, ...]:
    labels = {"AP": f"{kind} AP (%)"}
    return tuple(Metric(f"{kind}_{name}", "run", is_tested=name == "AP", label=labels.get(name)) for name in AVERAGE_PRECISIONS)


def _of_protocol(*names: str) -> tuple[Metric, ...]:
    labels = {name: f"box AP by {name.replace('_', ' ')} (%)" for name in names}
    return tuple(
        Metric(f"box_{name}_{ending}", "run", is_tested=ending == "AP", label=labels[name] if ending == "AP" else None)
        for name in names
        for ending in ("AP", "AP50", "AP75")
    )


BOX, MASK = _average_precisions("box"), _average_precisions("mask")
# Other rules for boxes, where a scale asks for them.
PROTOCOLS: dict[str, tuple[Metric, ...]] = {
    # With 11 points of recall, and the area below the curve.
    "voc": _of_protocol("VOC07", "VOC"),
    # Of 500 detections of an image, and as papers do with mmdetection.
    "visdrone": _of_protocol("VisDrone", "mmdet_VisDrone"),
}
# Where the dataset names categories of its classes, and tells instances apart.
OF_GROUPS = ("category_IoU", "iIoU", "category_iIoU")
SEMANTIC = (
    Metric("mIoU", "run", is_tested=True, label="mIoU (%)"),
    Metric("mean_accuracy", "run"),
    Metric("pixel_accuracy", "run"),
    Metric("mIoU_multi_scale", "run"),
    *(Metric(name, "run") for name in OF_GROUPS),
)
PANOPTIC = (
    Metric("PQ", "run", is_tested=True, label="PQ (%)"),
    *(Metric(name, "run") for name in ("SQ", "RQ", "PQ_things", "PQ_stuff")),
)
CLASSIFICATION = (
    Metric("top1_error", "run", decimals=2, lower_is_better=True, is_tested=True, label="top-1 error (%)"),
    Metric("top5_error", "run", decimals=2, lower_is_better=True),
    Metric("accuracy", "run", is_tested=True, label="accuracy (%)"),
)
# Losses that a neck adds of its own; a curve that is compared with other necks' leaves them out.
AUXILIARY_LOSSES = ("loss_orthogonal",)

# What a run's test gives, by task. A task's other half is the file of this name in experiments/tasks/.
TASKS: dict[str, tuple[Metric, ...]] = {
    "detection": (*BOX, *(metric for metrics in PROTOCOLS.values() for metric in metrics)),
    "instance_segmentation": (*BOX, *MASK),
    "semantic_segmentation": SEMANTIC,
    # mIoU is that of the stuff, with all things as one class, before instances are laid over it.
    "classification": CLASSIFICATION,
    "panoptic_segmentation": (*PANOPTIC, SEMANTIC[0], *BOX, *MASK),
}
# What a dataset must have for a task to learn from, where it is not objects: a property of the datasets.
LEARNS_FROM = {
    "semantic_segmentation": "label_maps",
    "panoptic_segmentation": "panoptic",
    "classification": "labelled_images",
}

_TABLE = [
    *dict.fromkeys(metric for metrics in TASKS.values() for metric in metrics),
    # Results of an evaluation server, for images whose annotations are not public.
    *(Metric(f"test_{metric.name}", "server") for metric in (*BOX, *MASK)),
    *(Metric(f"test_{name}", "server") for name in ("mIoU", *OF_GROUPS)),
    Metric("parameters", "cost", 1e6, decimals=2, lower_is_better=True, adds=("all_parameters", "all #Params (M)")),
    Metric("all_parameters", "cost", 1e6, decimals=2, lower_is_better=True),
    Metric("flops", "cost", 1e9, decimals=2, lower_is_better=True, adds=("all_flops", "all #FLOPs (G)")),
    Metric("all_flops", "cost", 1e9, decimals=2, lower_is_better=True),
    Metric("fps", "cost", significant=3, adds=("fps_ratio", "FPS ratio to the first row")),
    Metric("fps_ratio", "cost", decimals=3),
    Metric("training_memory", "cost", 2**30, decimals=2, lower_is_better=True),
    # Published in papers; nothing here measures them yet.
    Metric("quoted_fps", "paper"),
    *(Metric(name, "paper", lower_is_better=True) for name in ("top1_error_best_epoch", "top1_error_last_epoch")),
    *(Metric(name, "paper", lower_is_better=True) for name in ("quoted_parameters", "quoted_flops", "quoted_memory")),
]
METRICS = {metric.name: metric for metric in _TABLE}


def of_origin(origin: Origin) -> tuple[str, ...]:
    """Names of the metrics that come from one place, in their order.

    Parameters
    ----------
    origin : {'run', 'server', 'cost', 'paper'}
        Who gives them.
    """
    return tuple(name for name, metric in METRICS.items() if metric.origin == origin)


ACCURACY, TEST_ACCURACY, COMPLEXITY = of_origin("run"), of_origin("server"), of_origin("cost")
