"""A model and one step of it."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from experiments.configs.write import config_text
from experiments.spec.run import Run
from experiments.spec.scale import Training, load_scale
from experiments.spec.study import load_study
from necks.auxiliary_loss_hook import add_auxiliary_losses

SETTING = load_study("a2fpn").settings["a2fpn"]


def configuration(tmp_path, **training):
    scale = load_scale("demo").replace(training=Training(**training))
    path = tmp_path / "config.py"
    path.write_text(config_text(Run(SETTING, scale, 0)))
    return Config.fromfile(path)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    model = MODELS.build(configuration(tmp_path).model).train()
    add_auxiliary_losses(model)
    return model
