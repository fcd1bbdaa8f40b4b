"""NAS-FPN for models that read fewer than five levels."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules

import necks  # noqa: F401
from tests.necks.helpers import build

register_all_modules()


def example(num_outs=4):
    torch.manual_seed(0)
    return build("FinestNASFPN", [4, 6, 8, 10], 16, num_outs, stack_times=2, norm_cfg={"type": "BN"})


def maps():
    return tuple(torch.randn(2, channels, 48 // 2**level, 64 // 2**level) for level, channels in enumerate((4, 6, 8, 10)))


@pytest.mark.parametrize("num_outs", [1, 4, 5])
def test_its_levels_are_the_finest_of_mmdetections(num_outs):
    ours = example(num_outs).eval()
    options = {"stack_times": 2, "norm_cfg": {"type": "BN"}}
    theirs = MODELS.build({"type": "NASFPN", "in_channels": [4, 6, 8, 10], "out_channels": 16, "num_outs": 5, **options}).eval()
    theirs.load_state_dict(ours.state_dict())
    inputs = maps()
    levels = ours(inputs)
    assert len(levels) == num_outs
    assert all(torch.equal(own, other) for own, other in zip(levels, theirs(inputs), strict=False))


def test_with_four_levels_every_parameter_is_trained():
    neck = example().train()
    sum(level.square().mean() for level in neck(maps())).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


@pytest.mark.parametrize("num_outs", [0, 6])
def test_other_numbers_of_levels_are_refused(num_outs):
    with pytest.raises(ValueError, match=f"num_outs is {num_outs}; allowed: 1 to 5"):
        example(num_outs)
