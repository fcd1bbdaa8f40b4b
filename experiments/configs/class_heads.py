"""Heads with one output per class, sized by the dataset's classes."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.configs.base_configs import base_expression
from experiments.configs.python_source import to_python
from experiments.spec.known_classes import COCO_CLASSES, COCO_STUFF
from experiments.spec.run import Run


def sized_by_classes(model: dict[str, Any], run: Run, heads: Sequence[str]) -> dict[str, Any]:
    """A run's changes to its detector, with every class head sized by the dataset.

    Parameters
    ----------
    model : dict
        Changes to the detector's config.
    run : Run
        The run; its scale has the classes.
    heads : sequence of str
        Keys of the heads with an output for each class; those of proposals and of stuff have their own numbers.
    """
    classes = len(run.scale.classes)
    panoptic = run.scale.dataset.panoptic
    numbers = {
        "num_classes": classes,
        "num_things_classes": classes,
        "num_stuff_classes": len(panoptic.stuff) if panoptic else 0,
    }
    base = run.scale.detectors[run.setting.detector].base
    fits = classes == len(COCO_CLASSES) and numbers["num_stuff_classes"] in (0, len(COCO_STUFF))
    if fits and not any(f"'{key}'" in repr(model) for key in numbers) and base.startswith("mmdet::"):
        return model  # mmdetection's own sizes fit
    # Reading the detector's whole config takes a second, so only datasets with other classes pay for it.
    from mmengine.config import Config

    with TemporaryDirectory() as folder:
        path = Path(folder) / "base.py"
        path.write_text(f"_base_ = [{base_expression(base)}]\nmodel = {to_python(model)}\n", encoding="utf-8")
        whole = Config.fromfile(path).model.to_dict()
    return merged(model, _resized(whole, numbers, heads))


def _resized(model: dict[str, Any], numbers: dict[str, int], heads: Sequence[str]) -> dict[str, Any]:
    """What changes in a model; a list, such as the heads of a cascade's stages, is replaced as a whole."""
    changes: dict[str, Any] = {"roi_head": _resized(model["roi_head"], numbers, heads)} if "roi_head" in model else {}
    if "num_classes" in model:
        changes["num_classes"] = numbers["num_classes"]
    for name in heads:
        if isinstance(model.get(name), dict):
            changes[name] = _sizes(model[name], numbers)
        elif name in model:
            changes[name] = [{**stage, **_sizes(stage, numbers)} for stage in model[name]]
    return changes


def _sizes(head: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """Things and stuff where a head counts them apart, else classes; and a weight for each class and for none."""
    sizes: dict[str, Any] = {key: number for key, number in numbers.items() if key in head and key != "num_classes"}
    sizes = sizes or {"num_classes": numbers["num_classes"]}
    weights = (head.get("loss_cls") or {}).get("class_weight")
    if isinstance(weights, list):
        sizes["loss_cls"] = {"class_weight": [weights[0]] * sum(sizes.values()) + weights[-1:]}
    return sizes


def merged(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Changes over values, mapping by mapping; anything else replaces a value as a whole.

    Parameters
    ----------
    value, changes : dict
        A config, and what another says.
    """
    both = {key for key in changes.keys() & value.keys() if isinstance(changes[key], dict) and isinstance(value[key], dict)}
    return value | changes | {key: merged(value[key], changes[key]) for key in both}
