"""Less memory: what it changes, and what it leaves."""

import pytest
import torch
from mmdet.testing import demo_mm_inputs

from experiments.errors import UserError
from experiments.training.hooks.memory import checkpoint_gradients


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
