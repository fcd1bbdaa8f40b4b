"""Formats of datasets: where their files lie, and what is known of their splits.

The format of kind ``<kind>`` is prepared by ``experiments/data/<kind>.py``.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from experiments.spec.converted_datasets import CategoryMapsDataset, VisDroneDataset, VocDataset
from experiments.spec.dataset_files import DatasetFormat, InstanceMaps, LabelledImages, LabelMaps, ObjectFiles, PanopticFiles
from experiments.spec.image_datasets import Cifar100Dataset, ImageFoldersDataset
from experiments.spec.known_classes import COCO_CLASSES, COCO_STUFF
from experiments.spec.yaml_models import PrintedText, StrictModel, left_out_of_identity

LARGEST_LABEL = 255
# What drawn images show beside shapes, by the labels after those of the shapes.
BESIDE_SHAPES = ("background", "clutter")


class SyntheticDataset(DatasetFormat):
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
    def objects(self) -> ObjectFiles | None:
        """The shapes."""
        return ObjectFiles(
            self.train_annotations, self.train_images, self.train_stuff_maps, self.val_annotations, self.val_images
        )

    @property
    def label_maps(self) -> LabelMaps | None:
        """Shapes, background and clutter."""
        maps = "stuffthingmaps/train/", "stuffthingmaps/val/"
        classes = [*self.classes, *BESIDE_SHAPES]
        return LabelMaps(self.train_images, maps[0], self.val_images, maps[1], ".png", ".png", classes)

    @property
    def labelled_images(self) -> LabelledImages | None:
        """One shape in each of as many smaller images."""
        return LabelledImages("one_shape/train/", "one_shape/val/")

    @property
    def panoptic(self) -> PanopticFiles | None:
        """Shapes are things, background and clutter are stuff."""
        files = "annotations/panoptic_train.json", "panoptic/train/", "annotations/panoptic_val.json", "panoptic/val/"
        return PanopticFiles(*files, list(self.classes), list(BESIDE_SHAPES))

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


class Segments(StrictModel):
    """Where a dataset in COCO's format has its panoptic annotations; paths are relative to its folder.

    Attributes
    ----------
    stuff : list of str or None
        Names of the classes of stuff in the order of the files; None: COCO's 53. Those of things are the dataset's classes.
    """

    train_annotations: str
    train_maps: str
    val_annotations: str
    val_maps: str
    stuff: list[PrintedText] | None = None


class CocoDataset(DatasetFormat):
    """A folder in COCO format, chosen by `data_root` in the configuration; paths are relative to it.

    Attributes
    ----------
    classes : list of str, 'annotations' or None
        Names of the classes in the order of the annotation files, or 'annotations' to take them from there. None: COCO's 80.
    train_stuff_maps : str
        Folder of the maps of stuff and things, for detectors that need them.
    segments : Segments or None
        Its panoptic annotations, for panoptic segmentation.
    """

    kind: Literal["coco"]
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str
    train_stuff_maps: str = left_out_of_identity("stuffthingmaps/train2017/")

    classes: list[str] | Literal["annotations"] | None = left_out_of_identity(None)
    segments: Segments | None = left_out_of_identity(None)

    @model_validator(mode="after")
    def _segments_have_named_classes(self) -> Self:
        if self.segments and self.classes == "annotations":
            raise ValueError("classes: found 'annotations' beside segments; allowed there: the names of the things, or none")
        return self

    @property
    def panoptic(self) -> PanopticFiles | None:
        """The panoptic annotations that it names."""
        named = self.segments
        if named is None or self.classes == "annotations":
            return None
        things, stuff = list(self.classes or COCO_CLASSES), list(named.stuff or COCO_STUFF)
        return PanopticFiles(named.train_annotations, named.train_maps, named.val_annotations, named.val_maps, things, stuff)

    @property
    def objects(self) -> ObjectFiles | None:
        """All of it."""
        return ObjectFiles(
            self.train_annotations, self.train_images, self.train_stuff_maps, self.val_annotations, self.val_images
        )

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val_annotations == self.train_annotations

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"trained on {self.train_annotations}, measured on {self.val_annotations}"


class LabelMapDataset(DatasetFormat):
    """A folder of images and of label maps, chosen by `data_root` in the configuration; paths are relative to it.

    Each image has a PNG with a label for each pixel, of the same name but for its ending, in the same subfolder.

    Attributes
    ----------
    classes : list of str
        Names of the classes by their labels, from 0.
    image_ending, map_ending : str
        What stands behind the name that an image and its map share, such as ``_leftImg8bit.png``.
    ignored : int
        Label of pixels that are neither learned from nor measured.
    zero_is_ignored : bool
        Whether the files count classes from 1, as ADE20K's do, and 0 is ignored too; `ignored` is 255 then.
    categories : dict or None
        Name of each category to those of its classes, each in one: adds the metric category_IoU.
    instances : InstanceMaps or None
        Maps of instances: adds the metrics iIoU and category_iIoU, where instances count alike whatever their size.
    """

    kind: Literal["label_maps"]
    classes: list[PrintedText] = Field(min_length=2, max_length=255)
    train_images: str
    train_maps: str
    val_images: str
    val_maps: str
    image_ending: str = Field(".jpg", pattern=r"^[A-Za-z0-9_-]*\.[A-Za-z0-9]+$")
    map_ending: str = Field(".png", pattern=r"^[A-Za-z0-9_-]*\.png$")
    ignored: int = Field(255, ge=0, le=255)
    zero_is_ignored: bool = left_out_of_identity(False)
    categories: dict[PrintedText, Annotated[list[PrintedText], Field(min_length=1)]] | None = left_out_of_identity(None)
    instances: InstanceMaps | None = left_out_of_identity(None)

    @model_validator(mode="after")
    def _each_class_is_in_one_category(self) -> Self:
        if self.categories is None:
            return self
        members = [name for names in self.categories.values() for name in names]
        for name in members:
            _check_class(name, "categories", self.classes)
        if wrong := [name for name in self.classes if members.count(name) != 1]:
            found = f"class {wrong[0]} in {members.count(wrong[0])} categories"
            raise ValueError(f"categories: found {found}; allowed: each class in one")
        return self

    @model_validator(mode="after")
    def _instances_are_of_classes_in_categories(self) -> Self:
        if self.instances is None:
            return self
        if self.categories is None:
            raise ValueError("instances: found without categories; allowed: both, or categories alone")
        for name in self.instances.mean_pixels:
            _check_class(name, "instances.mean_pixels", self.classes)
        return self

    @model_validator(mode="after")
    def _ignored_label_is_no_class(self) -> Self:
        if self.zero_is_ignored and self.ignored != LARGEST_LABEL:
            raise ValueError(f"ignored is {self.ignored} beside zero_is_ignored; allowed: {LARGEST_LABEL}, or leave it out")
        if self.ignored < len(self.classes):
            raise ValueError(
                f"ignored is {self.ignored}, the label of class {self.classes[self.ignored]!r}; allowed: {len(self.classes)} to"
                " 255"
            )
        return self

    @property
    def label_maps(self) -> LabelMaps | None:
        """All of it."""
        folders = self.train_images, self.train_maps, self.val_images, self.val_maps
        endings = self.image_ending, self.map_ending
        grouped = self.categories, self.instances
        return LabelMaps(*folders, *endings, self.classes, self.ignored, self.zero_is_ignored, *grouped)

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val_images == self.train_images

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"trained on {self.train_images}, measured on {self.val_images}, {len(self.classes)} classes"


def _check_class(name: str, key: str, classes: list[str]) -> None:
    if name not in classes:
        raise ValueError(f"{key}: found {name!r}; allowed: names of classes: {', '.join(classes)}")


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


Dataset = Annotated[
    SyntheticDataset
    | CocoDataset
    | LabelMapDataset
    | VocDataset
    | VisDroneDataset
    | CategoryMapsDataset
    | ImageFoldersDataset
    | Cifar100Dataset,
    Field(discriminator="kind"),
]
