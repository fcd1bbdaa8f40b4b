"""Choices of computing a training: what they change, and what they leave."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from experiments.configs.write import config_text
from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import Training, load_scale
from experiments.spec.study import load_study
from experiments.training.precision import checkpoint_gradients, widen_heads
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


def losses_and_gradients(model):
    data = demo_mm_inputs(1, [[3, 96, 96]], num_items=[2], num_classes=6, with_mask=True, use_box_type=False)
    torch.manual_seed(1)
    model.zero_grad()
    losses = model.parse_losses(model(**model.data_preprocessor(data, training=True), mode="loss"))
    losses[0].backward()
    return losses[1], {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_results_computed_again_instead_of_kept_give_the_same_gradients(model):
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    losses, gradients = losses_and_gradients(model)
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.load_state_dict(statistics, strict=False)
    checkpoint_gradients(model, ["backbone.layer2", "neck"])
    again_losses, again = losses_and_gradients(model)
    assert "loss_orthogonal" in losses
    assert losses == again_losses
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert any(not torch.equal(kept[name], statistics[name]) for name in kept)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, kept[name]), name


def test_a_part_that_is_none_is_named(model):
    with pytest.raises(UserError, match=r"no part 'backbone.layer9'; its parts: .*backbone, neck"):
        checkpoint_gradients(model, ["backbone.layer9"])


def test_bfloat16_changes_the_forward_pass_and_no_parameter_type(model, tmp_path):
    wrapper = build_optim_wrapper(model, configuration(tmp_path, precision="bfloat16").optim_wrapper)
    assert wrapper.optimizer.defaults["lr"] == 0.002
    widen_heads(model)
    seen = []
    model.neck.register_forward_hook(lambda _module, _inputs, levels: seen.append({level.dtype for level in levels}))
    data = demo_mm_inputs(1, [[3, 96, 96]], num_items=[2], num_classes=6, with_mask=True, use_box_type=False)
    losses = model.train_step(data, wrapper)
    assert seen == [{torch.bfloat16}]
    assert torch.isfinite(losses["loss"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_choices_are_part_of_what_a_run_is():
    scale = load_scale("demo")
    ids = {
        Run(SETTING, scale.replace(training=Training(**training)), 0).id
        for training in (
            {},
            {"precision": "bfloat16"},
            {"channels_last": True},
            {"gradient_checkpointing": ["neck"]},
            {"base_batch_size": 16},
        )
    }
    assert len(ids) == 5
    # A rule that multiplies by one says nothing.
    assert Run(SETTING, scale.replace(training=Training(base_batch_size=8)), 0).id in ids
