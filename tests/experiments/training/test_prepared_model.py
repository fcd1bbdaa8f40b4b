"""Outside a training a model computes as in one."""

import pytest
import torch
from mmengine.runner import Runner

from experiments.configs.build import build_model, load_config
from experiments.cost.training_steps import seconds_of_steps
from experiments.spec.run import Run
from experiments.spec.scale import Training, load_scale
from experiments.spec.study import load_study
from experiments.training.prepared_model import prepare_model

OPTIONS = {
    "precision": "bfloat16",
    "channels_last": True,
    "gradient_checkpointing": ["backbone.layer3", "neck"],
    "deterministic": True,
}


@pytest.fixture(autouse=True)
def _torch_stays_as_it_is():
    yield
    torch.use_deterministic_algorithms(False)


def run_with(**training):
    return Run(load_study("a2fpn").settings["a2fpn"], load_scale("demo").replace(training=Training(**training)), 0)


def what_hooks_change(model):
    modules = [
        (name, type(module).__name__, "forward" in vars(module), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]
    formats = [
        parameter.is_contiguous(memory_format=torch.channels_last) for parameter in model.parameters() if parameter.dim() == 4
    ]
    return modules, formats


@pytest.mark.parametrize("training", [{}, OPTIONS], ids=["usual", "every option"])
def test_a_prepared_model_is_changed_as_a_runner_changes_it(tmp_path, training):
    run = run_with(**training)
    config = load_config(run)
    config.work_dir = str(tmp_path)
    runner = Runner.from_cfg(config)
    for hook in runner.hooks:
        if type(hook).__module__.startswith(("experiments.training.hooks", "necks")) and "History" not in type(hook).__name__:
            hook.before_run(runner)
            hook.before_train(runner)
    model = build_model(run)
    before = what_hooks_change(model)
    prepare_model(model, config)
    assert what_hooks_change(model) == what_hooks_change(runner.model)
    assert what_hooks_change(model) != before


def test_steps_are_taken_with_every_option_of_the_scale():
    seconds = seconds_of_steps(run_with(**OPTIONS), "cpu", 1)
    assert len(seconds) == 1
    assert seconds[0] > 0
