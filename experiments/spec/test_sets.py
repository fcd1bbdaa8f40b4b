"""Test sets, whose truth only an evaluation server has."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, PositiveInt, Tag

from experiments.spec.datasets import LARGEST_LABEL
from experiments.spec.yaml_models import StrictModel


class ObjectTestSet(StrictModel):
    """Images whose annotations only an evaluation server has; paths are relative to the dataset's folder.

    Attributes
    ----------
    name : str
        Name of the test set in the server's file names.
    image_info : str
        COCO's list of the images, without annotations.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9-]+$")
    image_info: str
    images: str


class LabelMapTestSet(StrictModel):
    """Images whose label maps only an evaluation server has; the folder is relative to the dataset's.

    Attributes
    ----------
    images : str
        Their folder.
    count : int
        Their number.
    class_ids : list of int
        The server's id of each class, in the order of the dataset's classes.
    """

    images: str
    count: PositiveInt
    class_ids: list[Annotated[int, Field(ge=0, le=LARGEST_LABEL)]]


def _kind_of_test_set(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "label_maps" if {"count", "class_ids"} & set(keys) else "coco"


TestSet = Annotated[
    Annotated[ObjectTestSet, Tag("coco")] | Annotated[LabelMapTestSet, Tag("label_maps")], Discriminator(_kind_of_test_set)
]
