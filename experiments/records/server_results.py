"""Results of an evaluation server -> metrics of a run, checked."""

from pathlib import Path
from typing import Any, Self

from pydantic import field_validator, model_validator

from experiments.paths import SERVER_RESULTS
from experiments.spec.yaml_models import StrictModel, read_yaml

# The server's names of COCO's metrics, and this project's.
AVERAGE_PRECISIONS = {"AP": "AP", "AP_50": "AP50", "AP_75": "AP75", "AP_small": "APS", "AP_medium": "APM", "AP_large": "APL"}
# Those of Cityscapes' code, and this project's.
INTERSECTIONS = {
    "averageScoreClasses": "mIoU",
    "averageScoreInstClasses": "iIoU",
    "averageScoreCategories": "category_IoU",
    "averageScoreInstCategories": "category_iIoU",
}


class _Fractions(StrictModel):
    """Values from 0 to 1."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_fraction(cls, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"is {value!r}; expected a fraction from 0 to 1, as the server prints it")
        return float(value)


class Statistics(_Fractions):
    """COCO's twelve statistics of one kind of detection, as fractions."""

    AP: float
    AP_50: float
    AP_75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    AR_max_1: float
    AR_max_10: float
    AR_max_100: float
    AR_small: float
    AR_medium: float
    AR_large: float


class LabelStatistics(_Fractions):
    """Cityscapes' four means of intersections over union, as fractions."""

    averageScoreClasses: float
    averageScoreInstClasses: float
    averageScoreCategories: float
    averageScoreInstCategories: float


class ServerAnswer(StrictModel):
    """One file of ``experiments/evaluation_server/``, named by the id of its run.

    Attributes
    ----------
    bbox, segm : Statistics or None
        Statistics of the boxes and of the masks, two entries on the server; one may still be missing.
    labels : LabelStatistics or None
        Those of label maps.
    """

    bbox: Statistics | None = None
    segm: Statistics | None = None
    labels: LabelStatistics | None = None

    @model_validator(mode="after")
    def _answers_something(self) -> Self:
        if self.bbox is None and self.segm is None and self.labels is None:
            raise ValueError("holds no answer; expected the key 'bbox', 'segm' or both, or 'labels'")
        return self


def answer_file(run: str) -> Path:
    """The file with the server's results for a run.

    Parameters
    ----------
    run : str
        Its id.
    """
    return SERVER_RESULTS / f"{run}.json"


def read_answer(path: Path) -> dict[str, float]:
    """Metrics in percent by the names of the tables' columns, ``test_box_AP`` and so on.

    Parameters
    ----------
    path : Path
        Path from `answer_file`; a missing file gives no values.

    Raises
    ------
    UserError
        If a key is missing or unknown, or a value is no fraction.
    """
    if not path.exists():
        return {}
    answer = read_yaml(path, ServerAnswer)
    parts = {"box": answer.bbox, "mask": answer.segm}
    of_labels = {f"test_{name}": 100 * getattr(answer.labels, key) for key, name in INTERSECTIONS.items() if answer.labels}
    return of_labels | {
        f"test_{kind}_{name}": 100 * getattr(statistics, key)
        for kind, statistics in parts.items()
        if statistics
        for key, name in AVERAGE_PRECISIONS.items()
    }
