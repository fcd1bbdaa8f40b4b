"""What a scale says about the arithmetic of GPUs, seen without one."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmcv.ops import CARAFE, ModulatedDeformConv2d, RoIAlign
from torch import nn

from experiments.errors import UserError
from experiments.training.hooks.gpu_arithmetic import GpuArithmeticHook, RepeatableGpuHook, refusals_as_user_errors
from experiments.training.roi_align import RepeatableRoIAlign


@pytest.fixture(autouse=True)
def _torchs_options_stay(monkeypatch):
    options = [
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cuda.matmul, "allow_tf32"),
    ]
    before = [getattr(place, name) for place, name in options]
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    yield
    for (place, name), value in zip(options, before, strict=True):
        setattr(place, name, value)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, (True, False, False)),
        ({"tf32": "none"}, (False, False, False)),
        ({"tf32": "all", "cudnn_benchmark": True}, (True, True, True)),
    ],
)
def test_torch_computes_as_the_scale_says(options, found):
    GpuArithmeticHook(**options).before_run(SimpleNamespace())
    cudnn = torch.backends.cudnn
    assert (cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, cudnn.benchmark) == found


def test_a_detector_on_a_gpu_pools_by_products_and_one_on_the_cpu_stays(model):
    def pooled():
        return {type(module) for module in model.modules() if isinstance(module, RoIAlign)}

    RepeatableGpuHook().before_run(SimpleNamespace(model=model))
    assert pooled() == {RoIAlign}
    RepeatableGpuHook().before_run(SimpleNamespace(model=model.to("meta")))
    assert pooled() == {RepeatableRoIAlign}


def test_cublas_is_told_before_its_first_product_unless_the_user_has(monkeypatch):
    RepeatableGpuHook()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    RepeatableGpuHook()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (ModulatedDeformConv2d(4, 4, 3), "ModulatedDeformConv2d"),
        (CARAFE(5, 1, 2), "CARAFE"),
        (RoIAlign(7, pool_mode="max"), "RoIAlign"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_layers_that_add_up_atomically_are_refused_on_a_gpu_by_name(layer, name):
    model = nn.Sequential(nn.Conv2d(1, 1, 1), layer).to("meta")
    with pytest.raises(UserError, match=f"deterministic: on a GPU mmcv's {name} adds gradients up in an order that changes"):
        RepeatableGpuHook().before_run(SimpleNamespace(model=model))


def test_what_torch_refuses_is_named():
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(UserError, match=r"deterministic: put_.* does not have a deterministic"), refusals_as_user_errors():
            torch.zeros(4).put_(torch.tensor([1, 1]), torch.ones(2))
    finally:
        torch.use_deterministic_algorithms(False)


def test_other_errors_of_torch_stay():
    with pytest.raises(RuntimeError, match="must match"), refusals_as_user_errors():
        torch.zeros(3) + torch.zeros(4)
