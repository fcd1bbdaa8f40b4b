"""The pretrained weights that a config names, and where they come from."""

import importlib.util
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.runner import checkpoint as mmengine_weights

from experiments.errors import UserError

ADDRESSES = ("http://", "https://")
# Keys whose value names weights, beside `checkpoint` in `init_cfg: {type: Pretrained, checkpoint: …}`.
KEYS = ("load_from", "pretrained")


def weights_named(config: Config) -> list[str]:
    """The weights that a config starts from, as it names them, each once.

    Parameters
    ----------
    config : Config
        With all that it inherits.
    """
    parts = {"load_from": config.get("load_from"), "model": config.model.to_dict()}
    return list(dict.fromkeys(_named_in(parts)))


def _named_in(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for entry in part:
            yield from _named_in(entry)
    if not isinstance(part, dict):
        return
    if part.get("type") == "Pretrained" and isinstance(part.get("checkpoint"), str):
        yield part["checkpoint"]
    for key, value in part.items():
        if key in KEYS and isinstance(value, str):
            yield value
        yield from _named_in(value)


def address_of(name: str) -> str | None:
    """The URL of weights; None for a file.

    Parameters
    ----------
    name : str
        A URL, a file, or a name of one of mmengine's collections: ``open-mmlab://``, ``mmcls://``, ``torchvision://``.

    Raises
    ------
    UserError
        If the collection has no such name, or needs a package that the environment does not have.
    """
    if name.startswith(ADDRESSES):
        return name
    scheme, separator, key = name.partition("://")
    if not separator:
        return None
    if scheme in ("torchvision", "modelzoo") and importlib.util.find_spec("torchvision") is None:
        raise UserError(f"weights {name}: torchvision is not part of the environment; name the weights by their URL")
    collections = {
        "open-mmlab": mmengine_weights.get_external_models,
        "openmmlab": mmengine_weights.get_external_models,
        "mmcls": mmengine_weights.get_mmcls_models,
        "torchvision": mmengine_weights.get_torchvision_models,
        "modelzoo": mmengine_weights.get_torchvision_models,
    }
    if scheme not in collections:
        raise UserError(f"weights {name}: unknown kind of address; allowed: http, https, {', '.join(collections)}, or a file")
    key = mmengine_weights.get_deprecated_model_names().get(key, key) if "mmlab" in scheme else key
    found = collections[scheme]().get(key)
    if not isinstance(found, str) or not found.startswith(ADDRESSES):
        raise UserError(f"weights {name}: mmengine knows no weights of this name; name them by their URL")
    return found
