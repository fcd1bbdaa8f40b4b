"""Formats of datasets whose images have one label each."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from experiments.spec.dataset_files import DatasetFormat, LabelledImages

SUPERCLASSES, CLASSES = 20, 100


class ImageFoldersDataset(DatasetFormat):
    """A folder for each class, in a folder for each split, below `data_root`; ImageNet's form.

    Attributes
    ----------
    train, val : str
        Folders of the classes' folders. Their names in order give the labels.
    class_count : int
        Number of classes.
    """

    kind: Literal["image_folders"]
    train: str = "train/"
    val: str = "val/"
    class_count: Annotated[int, Field(ge=2)]

    @property
    def classes(self) -> list[str]:
        """As many names as there are classes; those of the folders are read with the images."""
        return [f"class {number}" for number in range(self.class_count)]

    @property
    def labelled_images(self) -> LabelledImages | None:
        """All of it."""
        return LabelledImages(self.train, self.val)

    @property
    def measures_training_images(self) -> bool:
        """Whether the test is on the images of the training."""
        return self.val == self.train

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"trained on {self.train}, measured on {self.val}, {self.class_count} classes"


class Cifar100Dataset(DatasetFormat):
    """CIFAR-100 from its own archive below `data_root`: ``cifar-100-python/{train,test,meta}``.

    Attributes
    ----------
    labels : {'coarse', 'fine'}
        The 20 superclasses, or the 100 classes.
    """

    is_converted: ClassVar[bool] = True

    kind: Literal["cifar100"]
    labels: Literal["coarse", "fine"]

    @property
    def classes(self) -> list[str]:
        """As many names as there are classes; those of the archive are read with the images."""
        return [f"class {number}" for number in range(SUPERCLASSES if self.labels == "coarse" else CLASSES)]

    @property
    def labelled_images(self) -> LabelledImages | None:
        """What the project writes."""
        return LabelledImages("images/train/", "images/test/")

    @property
    def image_counts(self) -> tuple[int, int] | None:
        """Numbers of training and test images."""
        return 50_000, 10_000

    @property
    def description(self) -> str:
        """What a reader of a table should know."""
        return f"50,000 training and 10,000 test images of 32 × 32 pixels, {len(self.classes)} classes"
