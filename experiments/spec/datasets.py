"""Formats of datasets: where their files lie, and what is known of their splits.

The format of kind ``<kind>`` is prepared by ``experiments/data/<kind>.py``.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from experiments.spec.yaml_models import StrictModel, left_out_of_identity


class SyntheticDataset(StrictModel):
    """Drawn shapes in COCO format; see `experiments.data.synthetic`."""

    kind: Literal["synthetic"]
    classes: list[Literal["disc", "square", "triangle", "star", "cross", "crescent"]] = Field(min_length=1)
    image_size: PositiveInt
    train_count: PositiveInt
    val_count: PositiveInt
    min_objects: PositiveInt
    max_objects: PositiveInt
    seed: int = 0

    is_drawn: ClassVar[bool] = True
    train_annotations: ClassVar[str] = "annotations/train.json"
    train_images: ClassVar[str] = "train/"
    train_stuff_maps: ClassVar[str] = "stuffthingmaps/train/"
    val_annotations: ClassVar[str] = "annotations/val.json"
    val_images: ClassVar[str] = "val/"

    @property
    def image_counts(self) -> tuple[int, int] | None:
        """Numbers of training and validation images, if the settings say them."""
        return self.train_count, self.val_count

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return (
            f"{self.train_count} training and {self.val_count} validation images of {self.image_size} × {self.image_size}"
            f" pixels, {len(self.classes)} classes"
        )


class CocoDataset(StrictModel):
    """A folder in COCO format, chosen by `data_root` in the configuration; paths are relative to it.

    Attributes
    ----------
    classes : list of str, 'annotations' or None
        Names of the classes in the order of the annotation files, or 'annotations' to take them from there. None: COCO's 80.
    train_stuff_maps : str
        Folder of the maps of stuff and things, for detectors that need them.
    """

    is_drawn: ClassVar[bool] = False

    kind: Literal["coco"]
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str
    train_stuff_maps: str = left_out_of_identity("stuffthingmaps/train2017/")

    classes: list[str] | Literal["annotations"] | None = left_out_of_identity(None)

    @property
    def image_counts(self) -> tuple[int, int] | None:
        """Numbers of training and validation images, if the settings say them."""
        return None

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"trained on {self.train_annotations}, measured on {self.val_annotations}"


class ExpectedSplit(StrictModel):
    """The expected content of a split. It is not part of a run's identity; a run records what was found.

    Attributes
    ----------
    images : int
        Images that the annotations name and files in the folder.
    annotations_sha256 : str or None
        SHA-256 of the annotation file; None if it is not known.
    """

    images: PositiveInt
    annotations_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


Dataset = Annotated[SyntheticDataset | CocoDataset, Field(discriminator="kind")]


class TestSet(StrictModel):
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
