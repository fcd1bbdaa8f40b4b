"""Whatever an annotation file becomes: it is refused, or loaders and metrics see what they see in the right one."""

import copy
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset
from PIL import Image

from experiments.data.coco import identify
from experiments.errors import UserError
from experiments.spec.datasets import CocoDataset as Dataset
from experiments.tasks.average_precision import average_precision
from tests.experiments.data.right_files import HEIGHT, NAMES, WIDTH, right_file

EXAMPLES = int(os.environ.get("GATE_EXAMPLES", 60))
DATASET = Dataset(
    kind="coco",
    train_annotations="train.json",
    train_images="images/",
    val_annotations="val.json",
    val_images="images/",
    classes=NAMES,
)
PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
    {"type": "PackDetInputs"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dataset whose annotation files each example writes anew."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "images").mkdir()
    for number, image in enumerate(right_file()["images"]):
        pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    for name in ("train", "val"):
        (folder / f"{name}.json").write_text(json.dumps(right_file()))
    detections = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9 - a["id"] / 10, "bbox": [*a["bbox"][:3], 15]}
        for a in right_file()["annotations"]
    ]
    (folder / "detections.json").write_text(json.dumps(detections))
    return folder


def seen(folder: Path) -> tuple[list[list[str]], dict[str, float | None]]:
    """Hashes of what a training sees of every image, and what a metric measures."""
    dataset = CocoDataset(
        data_root=str(folder),
        ann_file="train.json",
        data_prefix={"img": "images/"},
        metainfo={"classes": NAMES},
        filter_cfg={"filter_empty_gt": True, "min_size": 32},
        pipeline=PIPELINE,
    )
    samples = []
    for index in range(len(dataset)):
        packed = dataset[index]
        objects = packed["data_samples"].gt_instances
        masks = objects.masks.to_ndarray()
        parts = (packed["inputs"].numpy(), objects.bboxes.tensor.numpy(), objects.labels.numpy(), masks)
        samples.append([hashlib.sha256(part.tobytes()).hexdigest() for part in parts])
    return samples, average_precision(folder / "val.json", folder / "detections.json", "box", (12, 24))


@pytest.fixture(scope="module")
def expected(folder):
    return seen(folder)


LEAVES = [(part, index, key) for part, entries in right_file().items() for index, entry in enumerate(entries) for key in entry]


def variants(value: Any) -> st.SearchStrategy[Any]:
    """The same value in another type or form, values of no meaning, and values that no tool can use."""
    forms = [str(value), [value], {"value": value}, None, True, "", [], {}, float("nan"), float("inf"), -1, 2**60, "ü"]
    if isinstance(value, int | float):
        forms += [float(value), -value, value + 2**53]
    if isinstance(value, list):
        forms += [value[:-1], value * 2, [str(entry) for entry in value], [float("nan"), *value[1:]], tuple(value)]
    return st.sampled_from(forms)


@dataclass(frozen=True)
class Change:
    """One place of a file that becomes something else."""

    kind: str
    part: str
    index: int
    key: str
    value: Any

    def apply(self, content: dict[str, Any]) -> None:
        """Change a file in place; what another change has removed stays as it is."""
        entries = content.get(self.part)
        value = copy.deepcopy(self.value)
        if self.kind == "part is missing":
            content.pop(self.part, None)
        elif self.kind == "part":
            content[self.part] = value
        elif isinstance(entries, list) and self.index < len(entries) and isinstance(entries[self.index], dict):
            self._apply_to_entry(entries, value)

    def _apply_to_entry(self, entries: list[Any], value: Any) -> None:
        if self.kind == "value":
            entries[self.index][self.key] = value
        elif self.kind == "value is missing":
            entries[self.index].pop(self.key, None)
        elif self.kind == "entry stands twice":
            entries.append(copy.deepcopy(entries[self.index]))
        elif self.kind == "unknown key":
            entries[self.index]["attributes"] = value
        else:
            entries[self.index] = value


KINDS = ["value"] * 4 + ["value is missing", "entry stands twice", "unknown key", "entry", "part is missing", "part"]


@st.composite
def changes(draw) -> Change:
    """A change of one place."""
    part, index, key = draw(st.sampled_from(LEAVES))
    return Change(draw(st.sampled_from(KINDS)), part, index, key, draw(variants(right_file()[part][index][key])))


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(changes(), min_size=1, max_size=3))
def test_a_changed_file_is_refused_or_means_the_same(folder, expected, changed):
    content = right_file()
    for change in changed:
        change.apply(content)
    for name in ("train", "val"):
        (folder / f"{name}.json").write_text(json.dumps(content))
    try:
        identify(DATASET, folder, {}, masks="any")
    except UserError as error:
        sentence = str(error)
    else:
        sentence = None
    if sentence is not None:
        assert re.search(r"(train|val)\.json: [^\n]+$", sentence)
        return
    samples, precision = seen(folder)
    assert samples == expected[0]
    assert precision.keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert precision[name] == pytest.approx(value, abs=1e-9), name
