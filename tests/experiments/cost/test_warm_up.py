"""Which necks have kernels that a GPU compiles, and the first steps of their trainings."""

import pytest

from experiments.cost.warm_up import uses_operators, warm_up
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study

pytestmark = pytest.mark.torch


def run_of(study, name):
    return Run(load_study(study).settings[name], load_scale("demo"), 0)


@pytest.mark.parametrize(
    ("study", "name", "has_kernels"),
    [
        ("a2fpn", "a2fpn_lite", True),
        ("a2fpn", "pafpn", False),
        ("a3fpn", "a3fpn", True),
        ("fusions", "carafe", True),
        ("fusions", "iaff", False),
        # Within a head.
        ("a3fpn", "upernet_a3fpn", True),
        ("a3fpn", "upernet", False),
    ],
)
def test_necks_that_call_operators_of_this_project_are_found(study, name, has_kernels):
    assert uses_operators(run_of(study, name)) == has_kernels


def test_each_neck_with_kernels_takes_its_first_steps_once():
    (steps,) = warm_up([run_of("a2fpn", name) for name in ("fpn", "a2fpn", "a2fpn")], "cpu")
    assert steps.run.setting.neck_types == ["A2FPN"]
    assert len(steps.seconds) == 2
    assert min(steps.seconds) > 0
