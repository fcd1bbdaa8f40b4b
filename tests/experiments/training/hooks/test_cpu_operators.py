"""Operators of this project in the place of mmcv's on the CPU."""

from types import SimpleNamespace

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.testing import demo_mm_inputs
from torch import nn

from experiments.training.hooks.cpu_operators import CPUOperatorsHook
from experiments.training.roi_align import RepeatableRoIAlign, replace_roi_align


def layers(model):
    return [module for module in model.modules() if isinstance(module, RoIAlign)]


def losses(model):
    torch.manual_seed(1)
    data = demo_mm_inputs(2, [[3, 96, 96]] * 2, num_items=[2, 3], num_classes=6, with_mask=True, use_box_type=False)
    data = model.data_preprocessor(data, training=True)
    return model.parse_losses(model.loss(data["inputs"], data["data_samples"]))[1]


def test_every_layer_of_a_detector_is_replaced_and_the_losses_stay(model):
    before = losses(model)
    options = [(layer.output_size, layer.spatial_scale, layer.sampling_ratio) for layer in layers(model)]
    CPUOperatorsHook().before_run(SimpleNamespace(model=model))
    assert len(options) == 8
    assert {type(layer) for layer in layers(model)} == {RepeatableRoIAlign}
    assert options == [(layer.output_size, layer.spatial_scale, layer.sampling_ratio) for layer in layers(model)]
    after = losses(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-5)


def test_a_second_start_finds_nothing_left_to_replace(model):
    assert replace_roi_align(model) == 8
    assert replace_roi_align(model) == 0


class OwnRoIAlign(RoIAlign):
    pass


@pytest.mark.parametrize(
    "layer",
    [RoIAlign(7, pool_mode="max"), RoIAlign(7, aligned=False), RoIAlign(7, use_torchvision=True), OwnRoIAlign(7), nn.ReLU()],
    ids=repr,
)
def test_layers_that_compute_something_else_stay(layer):
    model = nn.Sequential(layer)
    assert replace_roi_align(model) == 0
    assert model[0] is layer


def test_without_the_built_operators_mmcvs_stay(model, monkeypatch):
    monkeypatch.setattr("experiments.training.hooks.cpu_operators.unavailable_reason", lambda _: "not built")
    CPUOperatorsHook().before_run(SimpleNamespace(model=model))
    assert {type(layer) for layer in layers(model)} == {RoIAlign}


def test_a_model_on_another_device_keeps_mmcvs(model):
    CPUOperatorsHook().before_run(SimpleNamespace(model=model.to("meta")))
    assert {type(layer) for layer in layers(model)} == {RoIAlign}
