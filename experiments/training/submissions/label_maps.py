"""Label maps of Cityscapes' test images, as its evaluation server takes them."""

from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from mmengine.config import Config
from PIL import Image

from experiments.errors import UserError
from experiments.files import replacing
from experiments.spec.scale import Scale
from experiments.spec.test_sets import LabelMapTestSet
from experiments.tasks.class_areas import read_labels

TASKS = ("semantic_segmentation",)
TAKES = "label maps"


def check(scale: Scale, test_set: LabelMapTestSet) -> None:
    """Refuse test images that are missing.

    Raises
    ------
    UserError
        If there is none, or another number than the scale expects.
    """
    folder, labels = Path(scale.data_folder) / test_set.images, scale.label_maps
    found = sum(1 for _ in folder.rglob(f"*{labels.image_ending}")) if folder.is_dir() else 0
    if found != test_set.count:
        raise UserError(
            f"test images: {folder} ({folder.resolve()}) holds {found} files that end in {labels.image_ending}, not"
            f" {test_set.count}: unpack their archive again, or correct test_set of experiments/scales/{scale.name}.yaml"
        )


def test_on(config: Config, scale: Scale, test_set: LabelMapTestSet, folder: Path) -> None:
    """Let a config's test label the test images, and write the maps into a folder."""
    dataset = config.test_dataloader.dataset
    dataset.data_prefix = {"img_path": test_set.images}
    dataset.pipeline = [step for step in dataset.pipeline if step.type != "LoadAnnotations"]
    # Its second test reads true labels.
    config.custom_hooks = [hook for hook in config.custom_hooks if hook.type != "MultiScaleTestHook"]
    config.test_evaluator.update(format_only=True, output_dir=str(folder / "label_maps"))


def write_archives(folder: Path, output: Path, scale: Scale, test_set: LabelMapTestSet, algorithm: str) -> list[Path]:
    """Write ``label_maps_<algorithm>.zip``: for each image a PNG of its name, with the server's ids of the classes."""
    table = np.zeros(256, np.uint8)
    table[: len(test_set.class_ids)] = test_set.class_ids
    path = output / f"label_maps_{algorithm}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    # PNG are compressed.
    with replacing(path) as draft, ZipFile(draft, "w", ZIP_STORED) as archive:
        for file in sorted((folder / "label_maps").glob("*.png")):
            content = BytesIO()
            Image.fromarray(table[read_labels(file, scale.label_maps.zero_is_ignored)]).save(content, "PNG")
            archive.writestr(file.name, content.getvalue())
    return [path]
