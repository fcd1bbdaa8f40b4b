"""Maps that tell instances of classes apart, beside label maps: checked against these, and hashed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.data.findings import Findings
from experiments.data.images import in_threads
from experiments.spec.dataset_files import InstanceMaps, LabelMaps
from experiments.tasks.class_areas import read_labels
from experiments.tasks.grouped_areas import FIRST_INSTANCE

# As Pillow names 16 bits, little-endian, big-endian, and as its older versions do.
MODES = ("I;16", "I;16B", "I")


@dataclass(frozen=True)
class _Checked:
    """The hash of a file, and why it is refused."""

    digest: bytes = b""
    fault: str | None = None


def check_instances(label_maps: Sequence[Path], labels: LabelMaps, instances: InstanceMaps, findings: Findings) -> list[bytes]:
    """Check the map of instances beside each label map.

    Parameters
    ----------
    label_maps : sequence of Path
        Files that could be read.
    labels : LabelMaps
        How these are to be read.
    instances : InstanceMaps
        What the other maps are named like.
    findings : Findings
        Receives one sentence for each kind of fault.

    Returns
    -------
    list of bytes
        SHA-256 of the maps of instances, in the order of the label maps.
    """

    def beside(path: Path) -> Path:
        return path.with_name(path.name.removesuffix(labels.map_ending) + instances.map_ending)

    def check(path: Path) -> _Checked:
        return _check(beside(path), path, labels)

    checked = list(in_threads(check, label_maps, "checking maps of instances", "map"))
    wrong = [(beside(path), found.fault) for path, found in zip(label_maps, checked, strict=True) if found.fault]
    findings.refuse(wrong, lambda pair: f"map of instances {pair[0].name} {pair[1]}")
    return [found.digest for found in checked]


def _check(path: Path, label_map: Path, labels: LabelMaps) -> _Checked:
    try:
        content = path.read_bytes()
        with Image.open(path) as image:
            image.load()
            if image.mode not in MODES:
                return _Checked(fault=f"has the mode {image.mode}; allowed: 16 bits, 1000 times a class's number and a number")
            ids = np.asarray(image)
    except FileNotFoundError:
        return _Checked(fault=f"does not exist beside {label_map.name}; unpack its archive again, or leave instances out")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Checked(fault=f"is damaged, or no image: {error}; fetch it again")
    truth = read_labels(label_map, labels.zero_is_ignored)
    if ids.shape != truth.shape:
        sizes = [f"{shape[1]} × {shape[0]}" for shape in (ids.shape, truth.shape)]
        return _Checked(fault=f"is {sizes[0]} pixels large; allowed: {sizes[1]} as {label_map.name}")
    # Instances with each label that they have in the label map.
    pairs = np.unique(np.stack([ids, truth])[:, ids > FIRST_INSTANCE].astype(np.int64), axis=1)
    numbers, times = np.unique(pairs[0], return_counts=True)
    if (times > 1).any():
        several = pairs[1][pairs[0] == numbers[times > 1][0]].tolist()
        fault = f"has instance {numbers[times > 1][0]} on the labels {', '.join(map(str, several))} of {label_map.name}"
        return _Checked(fault=f"{fault}; allowed: one")
    return _Checked(hashlib.sha256(content).digest())
