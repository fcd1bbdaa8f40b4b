"""Steps outside a training choose and refuse algorithms as in one."""

import pytest
import torch

from experiments.cost import training_steps
from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import Training, load_scale
from experiments.spec.study import load_study


def run_with(**training):
    return Run(load_study("a2fpn").settings["fpn"], load_scale("demo").replace(training=Training(**training)), 0)


@pytest.mark.parametrize("wanted", [False, True])
def test_results_repeat_where_the_scale_says_so_and_only_there(monkeypatch, wanted):
    seen = []
    monkeypatch.setattr(
        training_steps, "_seconds_of_step", lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()) or 1.0
    )
    assert training_steps.seconds_of_steps(run_with(deterministic=wanted), "cpu", 2) == [1.0, 1.0]
    assert seen == [wanted, wanted]
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operator_whose_results_do_not_repeat_is_named(monkeypatch):
    def step(*_):
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set it")

    monkeypatch.setattr(training_steps, "_seconds_of_step", step)
    with pytest.raises(UserError, match="training: deterministic: histc_cuda does not have a deterministic implementation"):
        training_steps.seconds_of_steps(run_with(deterministic=True), "cpu", 1)
    assert not torch.are_deterministic_algorithms_enabled()
