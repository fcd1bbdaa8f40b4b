"""CIFAR-100 in its own archive: unpacked into a folder for each class, checked and identified as such."""

import io
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from experiments.data.folders import check_root, make_folder
from experiments.data.image_folders import identify
from experiments.data.masks import Masks
from experiments.errors import UserError
from experiments.spec.dataset_identity import CheckedDataset
from experiments.spec.datasets import ExpectedSplit
from experiments.spec.image_datasets import Cifar100Dataset

FOLDER = "cifar-100-python"
SPLITS = {"train": 50_000, "test": 10_000}
SIDE = 32
# What an array is made of; a pickle may ask for anything else, and is refused.
ALLOWED = {
    *(("numpy.core.multiarray", name) for name in ("_reconstruct", "scalar")),
    *(("numpy._core.multiarray", name) for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads arrays and plain types alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; allowed: arrays and plain types")
        return super().find_class(module, name)


def prepare(
    dataset: Cifar100Dataset, folder: Path, data_root: Path | None, expected: Mapping[str, ExpectedSplit], masks: Masks
) -> CheckedDataset:
    """Write the images of the archive into a folder; see `experiments.data.prepare.prepare_dataset`."""
    archive = check_root(data_root) / FOLDER
    names = _read(archive / "meta")[f"{dataset.labels}_label_names"]
    make_folder(folder)
    for split, count in SPLITS.items():
        _write_split(_read(archive / split), archive / split, names, dataset.labels, count, folder / f"images/{split}")
    return identify(dataset, folder, expected, masks)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; allowed as data_root: the folder in which CIFAR-100's archive for Python is unpacked"
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, AttributeError, ImportError, KeyError) as error:
        raise UserError(f"{path}: is no part of CIFAR-100's archive for Python: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no part of CIFAR-100's archive for Python: it holds a {type(content).__name__}")
    return content


def _write_split(content: dict[str, Any], path: Path, names: list[str], labels: str, count: int, folder: Path) -> None:
    """PNG files in a folder for each class, in the place of those of an earlier call."""
    pixels, numbers = content.get("data"), content.get(f"{labels}_labels")
    if (
        not isinstance(pixels, np.ndarray)
        or not isinstance(numbers, list)
        or pixels.shape != (count, 3 * SIDE * SIDE)
        or len(numbers) != count
    ):
        found = getattr(pixels, "shape", None)
        raise UserError(f"{path}: data has the shape {found}; allowed: {count}, {3 * SIDE * SIDE}, and as many {labels}_labels")
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        (folder / name).mkdir(parents=True)
    images = pixels.reshape(count, 3, SIDE, SIDE).transpose(0, 2, 3, 1)[..., ::-1]
    for number in tqdm(range(count), desc=f"writing {folder.name}", unit="image", mininterval=1):
        _, encoded = cv2.imencode(".png", images[number])
        (folder / names[numbers[number]] / f"{number:05d}.png").write_bytes(encoded.tobytes())
