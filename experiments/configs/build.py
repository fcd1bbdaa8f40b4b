"""A run as an mmengine config and as a model, for everything but its training."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope, Registry
from torch import nn

from experiments.configs.write import config_text, framework, neck_config
from experiments.errors import UserError, build_errors_as_user_errors
from experiments.spec.run import Run
from experiments.spec.setting import neck_links


def load_config(run: Run) -> Config:
    """The config of a run, with all that it inherits.

    Parameters
    ----------
    run : Run
        The run.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.py"
        path.write_text(config_text(run), encoding="utf-8")
        return Config.fromfile(path)


def build_model(run: Run, extra_classes: int = 0) -> nn.Module:
    """The model of a run with random weights.

    Parameters
    ----------
    run : Run
        The run.
    extra_classes : int
        Classes added to every RoI head.

    Raises
    ------
    UserError
        If the neck or the backbone refuses its options.
    """
    model = load_config(run).model
    model.backbone.init_cfg = None
    for head in _roi_head_configs(model):
        head.num_classes += extra_classes
    place = f"neck {run.setting.neck}, backbone {run.setting.backbone}, scale {run.scale.name}"
    with build_errors_as_user_errors(place), _models_of(run) as models:
        return models.build(model)


def build_empty_model(run: Run, extra_classes: int = 0) -> nn.Module:
    """The model of a run without memory for its weights, on the meta device; with random weights if it cannot be built there.

    Parameters
    ----------
    run, extra_classes
        As for `build_model`.

    Raises
    ------
    UserError
        If the neck or the backbone refuses its options.
    """
    try:
        with torch.device("meta"):
            return build_model(run, extra_classes)
    except UserError as error:
        # Swin asks tensors for their values.
        if "on meta tensors" not in str(error):
            raise
    return build_model(run, extra_classes)


def build_neck(run: Run) -> None:
    """Build a run's neck alone, without memory for its parameters, to see whether it accepts its options.

    Parameters
    ----------
    run : Run
        The run.

    Raises
    ------
    UserError
        If the neck refuses its options.
    """
    config = neck_config(run)
    links = [{key: value for key, value in link.items() if key != "_delete_"} for link in neck_links(config)]
    place = f"neck {run.setting.neck}, scale {run.scale.name}"
    with build_errors_as_user_errors(place), torch.device("meta"), _models_of(run) as models:
        import_module("necks")  # registers them
        for link in links:
            models.build(link)


@contextmanager
def _models_of(run: Run) -> Iterator[Registry]:
    """The models of the library that a run's config inherits from, in which parts of models are then looked up."""
    with DefaultScope.overwrite_default_scope(framework(run)):
        yield import_module(f"{framework(run)}.registry").MODELS


def _roi_head_configs(model: ConfigDict) -> list[ConfigDict]:
    heads = [model.roi_head.bbox_head, model.roi_head.get("mask_head", [])] if "roi_head" in model else []
    return [head for stages in heads for head in (stages if isinstance(stages, list) else [stages])]
