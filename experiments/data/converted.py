"""Objects that were read from another format -> annotation files in COCO's, and a link to the images; checked as COCO's are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.data.coco import identify
from experiments.data.converters.coco_content import AnnotatedImage, coco_content, places
from experiments.data.findings import DatasetError
from experiments.data.folders import link_folder, make_folder
from experiments.data.masks import Masks
from experiments.files import write_atomically
from experiments.spec.converted_datasets import VisDroneDataset, VocDataset
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import ExpectedSplit


def write_and_identify(
    dataset: VocDataset | VisDroneDataset,
    splits: Mapping[str, Sequence[AnnotatedImage]],
    folder: Path,
    data_root: Path,
    expected: Mapping[str, ExpectedSplit],
    masks: Masks,
) -> CheckedDataset:
    """Write both splits, link the images, check and identify them; the same files give the same identity.

    Parameters
    ----------
    dataset : VocDataset or VisDroneDataset
        The dataset.
    splits : dict
        Images of ``train`` and ``val``, named relative to the data root.
    folder : Path
        Folder in which runs look for the dataset.
    data_root : Path
        Folder of the images.
    expected, masks
        As for `experiments.data.prepare.prepare_dataset`.

    Raises
    ------
    UserError
        If a split is not what was expected, or something else stands in the folder.
    DatasetError
        If annotations or images are wrong; what is wrong with an annotation is said where it was read.
    """
    make_folder(folder)
    link_folder(folder / dataset.images, data_root)
    files = {"train": folder / dataset.train_annotations, "val": folder / dataset.val_annotations}
    for name, file in files.items():
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, coco_content(splits[name], dataset.classes))
    try:
        return identify(dataset, folder, expected, masks)
    except DatasetError as error:
        raise error.read_from({files[name]: places(images) for name, images in splits.items()}) from None
