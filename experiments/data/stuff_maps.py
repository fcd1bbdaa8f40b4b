"""Check of the maps of stuff and things that some detectors are trained on: one per training image."""

from pathlib import Path
from typing import Any

from PIL import Image

from experiments.data.coco import read_json
from experiments.data.folders import check_root
from experiments.data.images import in_threads
from experiments.errors import UserError
from experiments.spec.datasets import Dataset


def check_stuff_maps(dataset: Dataset, data_root: Path | None) -> dict[str, Any]:
    """Check that every training image has a map of stuff and things.

    Parameters
    ----------
    dataset : Dataset
        The dataset.
    data_root : Path or None
        The dataset's folder.

    Returns
    -------
    dict
        The folder of the maps and their number.

    Raises
    ------
    UserError
        If the folder or a map is missing, or a file is no map of labels.
    """
    data_root = check_root(data_root)
    assert dataset.objects is not None, "only detectors of objects learn from them"
    files = dataset.objects
    folder = data_root / files.train_stuff_maps
    remedy = (
        "HTC's semantic branch learns from the maps in stuffthingmaps_trainval2017.zip of COCO-Stuff:"
        f" unpack it, so that the maps of the training images lie in {folder}"
    )
    if not folder.is_dir():
        raise UserError(f"stuff maps: the folder {folder} does not exist; {remedy}")
    path = data_root / files.train_annotations
    content, _ = read_json(path)
    try:
        names = [Path(image["file_name"]).with_suffix(".png") for image in content["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"annotation file {path} is not in COCO's instances format: {error}") from None
    present = {file.relative_to(folder) for file in folder.rglob("*.png")}
    missing = [name for name in names if name not in present]
    if missing:
        raise UserError(f"stuff maps: {len(missing)} of {len(names)} are missing, such as {folder / missing[0]}; {remedy}")
    maps = [folder / name for name in names]
    for _ in in_threads(lambda path: _check_labels(path, remedy), maps, "checking stuff maps", "map"):
        pass
    return {"folder": files.train_stuff_maps, "stuff_maps": len(names)}


def _check_labels(path: Path, remedy: str) -> None:
    """Refuse damaged maps, and images with a palette, which mmcv would read as three colour channels."""
    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
    except (SyntaxError, OSError) as error:
        raise UserError(f"stuff maps: {path} is damaged: {error}; {remedy}") from None
    if mode != "L":
        raise UserError(f"stuff maps: {path} is not a grey image whose values are labels (mode {mode}); {remedy}")
