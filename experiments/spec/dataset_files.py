"""What a dataset may have, and where: objects, label maps, segments, labelled images; paths are relative to its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveFloat

from experiments.spec.yaml_models import PrintedText, StrictModel

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


class InstanceMaps(StrictModel):
    """Maps of instances beside the label maps of the validation images, of 16 bits, as Cityscapes has them.

    An instance's pixels have 1000 times the number of its class and its own number; what is below is no instance.

    Attributes
    ----------
    map_ending : str
        What stands behind the name that an image and its map share.
    mean_pixels : dict
        Name of each class whose instances count to their mean size in pixels.
    """

    map_ending: str = Field(pattern=r"^[A-Za-z0-9_-]*\.png$")
    mean_pixels: dict[PrintedText, PositiveFloat] = Field(min_length=1)


@dataclass(frozen=True)
class ObjectFiles:
    """Annotations of objects in COCO's format, and their images; paths are relative to the dataset's folder.

    Attributes
    ----------
    train_annotations, val_annotations : str
        Files.
    train_images, val_images, train_stuff_maps : str
        Folders.
    holds_others : bool
        Whether the folders of images hold others too.
    """

    train_annotations: str
    train_images: str
    train_stuff_maps: str
    val_annotations: str
    val_images: str
    holds_others: bool = False


@dataclass(frozen=True)
class LabelMaps:
    """A label for each pixel of each image, as PNG; paths are relative to the dataset's folder.

    Attributes
    ----------
    train_images, train_maps, val_images, val_maps : str
        Folders.
    image_ending, map_ending : str
        What stands behind the name that an image and its map share.
    classes : list of str
        Names of the classes by their labels, from 0.
    ignored : int
        Label of pixels that are neither learned from nor measured.
    zero_is_ignored : bool
        Whether the files count classes from 1, and 0 is ignored too.
    categories : dict or None
        Name of each category to those of its classes.
    instances : InstanceMaps or None
        Maps that tell the instances of classes apart, for measuring.
    """

    train_images: str
    train_maps: str
    val_images: str
    val_maps: str
    image_ending: str
    map_ending: str
    classes: list[str]
    ignored: int = 255
    zero_is_ignored: bool = False
    categories: dict[str, list[str]] | None = None
    instances: InstanceMaps | None = None

    def map_files(self, folder: Path) -> list[Path]:
        """The label maps in a folder and those below it, in the order of their paths; maps of instances are left out."""
        found = sorted(path for path in folder.rglob(f"*{self.map_ending}") if path.is_file())
        others = self.instances
        return [path for path in found if not (others and path.name.endswith(others.map_ending))]


@dataclass(frozen=True)
class PanopticFiles:
    """Segments in COCO's panoptic format: a file of them, and for each image a PNG with the ids of its segments.

    Paths are relative to the dataset's folder.

    Attributes
    ----------
    train_annotations, val_annotations : str
        Files.
    train_maps, val_maps : str
        Folders.
    things, stuff : list of str
        Names of the classes by their labels, from 0; things come first.
    """

    train_annotations: str
    train_maps: str
    val_annotations: str
    val_maps: str
    things: list[str]
    stuff: list[str]


@dataclass(frozen=True)
class LabelledImages:
    """Images in a folder for each class; paths are relative to the dataset's folder.

    Attributes
    ----------
    train, val : str
        Folders of the classes' folders. The labels are those of their names in order, from 0.
    """

    train: str
    val: str

    @staticmethod
    def class_folders(folder: Path) -> list[Path]:
        """The folders of the classes in that of a split, in the order of their labels."""
        return sorted(path for path in folder.iterdir() if path.is_dir())

    @staticmethod
    def images_of_class(folder: Path) -> list[Path]:
        """The images in the folder of a class, in the order of their names."""
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_ENDINGS)


class DatasetFormat(StrictModel):
    """What a format has in common with every other: nothing of what tasks learn from, unless it says so.

    Attributes
    ----------
    is_drawn : bool
        Whether the project draws its images.
    is_converted : bool
        Whether the project writes its annotations, or its images, from files of another format.
    """

    is_drawn: ClassVar[bool] = False
    is_converted: ClassVar[bool] = False

    @property
    def objects(self) -> ObjectFiles | None:
        """Its annotations of objects, if it has some."""
        return None

    @property
    def label_maps(self) -> LabelMaps | None:
        """Its label maps, if it has some."""
        return None

    @property
    def labelled_images(self) -> LabelledImages | None:
        """Its images with one label each, if it has some."""
        return None

    @property
    def panoptic(self) -> PanopticFiles | None:
        """Its segments, if it has some."""
        return None

    @property
    def image_counts(self) -> tuple[int, int] | None:
        """Numbers of training and validation images, if the settings say them."""
        return None

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return False
