"""bfloat16: what it changes, and what it leaves."""

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.optim import build_optim_wrapper

from experiments.tasks.detector_precision import cast_heads_to_float32
from tests.experiments.training.hooks.conftest import configuration


def test_bfloat16_changes_the_forward_pass_and_no_parameter_type(model, tmp_path):
    wrapper = build_optim_wrapper(model, configuration(tmp_path, precision="bfloat16").optim_wrapper)
    assert wrapper.optimizer.defaults["lr"] == 0.002
    cast_heads_to_float32(model)
    seen = []
    model.neck.register_forward_hook(lambda _module, _inputs, levels: seen.append({level.dtype for level in levels}))
    data = demo_mm_inputs(1, [[3, 96, 96]], num_items=[2], num_classes=6, with_mask=True, use_box_type=False)
    losses = model.train_step(data, wrapper)
    assert seen == [{torch.bfloat16}]
    assert torch.isfinite(losses["loss"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
