"""The orthogonal regularisation: its value and gradient, and its way into the training loss of every detector."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.optim import OptimWrapper

from necks.auxiliary_loss_hook import add_auxiliary_losses

DETECTORS = [
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "retinanet/retinanet_r50_fpn_1x_coco.py",
]
A2FPN = {"type": "A2FPN", "in_channels": [8, 16, 32, 64], "out_channels": 16, "num_outs": 5}


def test_gradient_is_the_analytic_one():
    neck = MODELS.build(A2FPN).double()
    losses = neck.auxiliary_losses()
    losses["loss_orthogonal"].backward()
    value = 0.0
    for collector in neck.context.collectors:
        weight = collector.entities.weight.detach().flatten(1)
        excess = weight @ weight.T - torch.eye(len(weight), dtype=weight.dtype)
        value += 1e-4 * torch.linalg.matrix_norm(excess).square()
        torch.testing.assert_close(collector.entities.weight.grad.flatten(1), 4e-4 * excess @ weight, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(losses["loss_orthogonal"].detach(), value)


def test_is_zero_exactly_for_orthonormal_weights():
    neck = MODELS.build(A2FPN)
    for collector in neck.context.collectors:
        torch.nn.init.zeros_(collector.entities.weight)
    # Without weights each level contributes the squared norm of the identity, its number of entities.
    numbers = sum(collector.entities.out_channels for collector in neck.context.collectors)
    assert neck.auxiliary_losses()["loss_orthogonal"].item() == pytest.approx(1e-4 * numbers)
    collector = neck.context.collectors[-1]
    torch.nn.init.eye_(collector.entities.weight.data.view(collector.entities.out_channels, -1))
    assert neck.auxiliary_losses()["loss_orthogonal"].item() == pytest.approx(
        1e-4 * (numbers - collector.entities.out_channels)
    )


def test_necks_without_global_context_have_none():
    assert MODELS.build({**A2FPN, "lateral": "conv"}).auxiliary_losses() == {}


def detector_with_a2fpn(config: str):
    model = get_config(f"mmdet::{config}").model
    model.backbone.update(depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, init_cfg=None)
    model.neck = {**A2FPN, "lateral": "mgc", "extra_level": "pool"}
    return MODELS.build(narrow(model, from_width=256, to_width=16))


def narrow(part, from_width, to_width):
    if isinstance(part, dict):
        for key, value in part.items():
            is_width = key in ("in_channels", "feat_channels", "out_channels", "conv_out_channels")
            part[key] = to_width if is_width and value == from_width else narrow(value, from_width, to_width)
    elif isinstance(part, list):
        return [narrow(item, from_width, to_width) for item in part]
    return part


def batch(model, size=64):
    inputs = demo_mm_inputs(1, [[3, size, size]], num_items=[2], with_mask=True, use_box_type=False)
    return model.data_preprocessor(inputs, training=True)


@pytest.mark.parametrize("config", DETECTORS)
def test_enters_and_is_logged_with_the_loss_of_every_detector(config):
    model = detector_with_a2fpn(config).train()
    add_auxiliary_losses(model)
    losses = model(**batch(model), mode="loss")
    total, logged = model.parse_losses(losses)
    expected = model.neck.auxiliary_losses()["loss_orthogonal"]
    assert logged["loss_orthogonal"] == expected
    without = {name: value for name, value in losses.items() if name != "loss_orthogonal"}
    torch.testing.assert_close(total, model.parse_losses(without)[0] + expected)


class ScaledOptimWrapper(OptimWrapper):
    """What mmengine's AmpOptimWrapper does with its gradient scaler; that one refuses to run without an accelerator."""

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)

    def backward(self, loss, **keywords):
        self.scaler.scale(loss).backward(**keywords)
        self._inner_count += 1

    def step(self, **keywords):
        self.scaler.step(self.optimizer)
        self.scaler.update()


def gradient_of_entities(wrapper_of, steps=1):
    torch.manual_seed(0)
    model = detector_with_a2fpn(DETECTORS[3]).train()
    add_auxiliary_losses(model)
    # Only the regularisation is left, so that the gradient is known.
    model.loss = lambda *_, **__: {"loss_nothing": model.neck.fpn_convs[0].conv.bias.sum() * 0}
    parameter = model.neck.context.collectors[0].entities.weight
    before = parameter.detach().clone()
    # So large a rate that the step stands well above the rounding of the weights.
    wrapper = wrapper_of(torch.optim.SGD(model.parameters(), lr=1e3))
    data = batch(model)
    model.data_preprocessor.forward = lambda data, training: data
    for _ in range(steps):
        model.train_step(data, wrapper)
    return (before - parameter.detach()) / 1e3, before


@pytest.mark.parametrize(
    ("wrapper_of", "steps"),
    [
        (lambda optimizer: OptimWrapper(optimizer), 1),
        (lambda optimizer: OptimWrapper(optimizer, accumulative_counts=4), 4),
        (lambda optimizer: ScaledOptimWrapper(optimizer), 1),
        (lambda optimizer: ScaledOptimWrapper(optimizer, accumulative_counts=4), 4),
    ],
    ids=["plain", "accumulated", "scaled", "scaled and accumulated"],
)
def test_step_is_the_analytic_gradient(wrapper_of, steps):
    step, before = gradient_of_entities(wrapper_of, steps)
    weight = before.flatten(1)
    analytic = 4e-4 * (weight @ weight.T - torch.eye(len(weight))) @ weight
    torch.testing.assert_close(step.flatten(1), analytic, rtol=1e-4, atol=1e-8)


def test_gradient_is_scaled_like_every_other_under_mixed_precision():
    neck = MODELS.build(A2FPN)
    scaled = copy.deepcopy(neck)
    neck.auxiliary_losses()["loss_orthogonal"].backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = scaled.auxiliary_losses()["loss_orthogonal"]
    assert loss.dtype == torch.float32
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = torch.optim.SGD(scaled.parameters(), lr=1.0)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    for ours, reference in zip(scaled.parameters(), neck.parameters(), strict=True):
        if reference.grad is not None:
            torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-6, atol=0)
