"""Formats of datasets whose annotations are written in another format once; their images stay where they are."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from experiments.spec.dataset_files import DatasetFormat, LabelMaps, ObjectFiles
from experiments.spec.known_classes import VISDRONE_CLASSES, VOC_CLASSES
from experiments.spec.yaml_models import PrintedText

# A folder below the data root.
Folder = Annotated[str, Field(pattern=r"^[^/].*[^/]$|^[^/]$")]


class ConvertedDataset(DatasetFormat):
    """What all of them have in common: objects, in files that the project writes, and a link to the data root."""

    is_converted: ClassVar[bool] = True
    train_annotations: ClassVar[str] = "annotations/train.json"
    val_annotations: ClassVar[str] = "annotations/val.json"
    images: ClassVar[str] = "images/"

    @property
    def objects(self) -> ObjectFiles | None:
        """All of it."""
        # Maps of stuff come with no such dataset.
        maps = "stuffthingmaps/"
        return ObjectFiles(self.train_annotations, self.images, maps, self.val_annotations, self.images, holds_others=True)


class VocDataset(ConvertedDataset):
    """Folders in PASCAL VOC's format below `data_root`.

    Difficult objects are learned from, as by Detectron2, and not measured.

    Attributes
    ----------
    train, val : dict
        Folder, such as ``VOC2007``, to the name of its list in ``ImageSets/Main``, such as ``trainval``.
    classes : list of str
        Names of the classes.
    """

    kind: Literal["voc"]
    train: dict[Folder, PrintedText] = Field(min_length=1)
    val: dict[Folder, PrintedText] = Field(min_length=1)
    classes: list[PrintedText] = Field(list(VOC_CLASSES), min_length=1)

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val == self.train

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        train, val = (" and ".join(f"{folder} {name}" for folder, name in split.items()) for split in (self.train, self.val))
        return f"trained on {train}, with difficult objects, measured on {val}, without"


class VisDroneDataset(ConvertedDataset):
    """Folders in VisDrone's format below `data_root`.

    Ignored regions are nothing in training, and crowds when measured.

    Attributes
    ----------
    train, val : str
        Folders, such as ``VisDrone2019-DET-train``, with ``annotations`` and ``images``.
    """

    classes: ClassVar[list[str]] = list(VISDRONE_CLASSES)

    kind: Literal["visdrone"]
    train: Folder
    val: Folder

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val == self.train

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"trained on {self.train}, without ignored regions, measured on {self.val}"


class CategoryMapsDataset(DatasetFormat):
    """The images of a dataset in COCO's format that show a category, with its objects against all else as label maps.

    Paths are relative to `data_root`. Crowds are ignored.

    Attributes
    ----------
    category : str
        Name of the category.
    image_ending : str
        Ending of the images' names.
    """

    is_converted: ClassVar[bool] = True

    kind: Literal["category_maps"]
    category: PrintedText
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str
    image_ending: str = Field(".jpg", pattern=r"^\.[A-Za-z0-9]+$")

    @property
    def classes(self) -> list[str]:
        """All else, and the category."""
        return ["background", self.category]

    @property
    def label_maps(self) -> LabelMaps | None:
        """What the project writes."""
        folders = "images/train/", "maps/train/", "images/val/", "maps/val/"
        return LabelMaps(*folders, self.image_ending, ".png", self.classes)

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val_annotations == self.train_annotations

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"images with {self.category}, trained on {self.train_annotations}, measured on {self.val_annotations}"
