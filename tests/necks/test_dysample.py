"""FPN with DySample: its equations, its initialisation, its options."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from necks.dysample import DySample, DySampleFPN
from tests.necks.equations_dysample import dysample_fpn
from tests.necks.helpers import SMALL, assert_computes, assert_uniform, build, levels, randomise, without_gradient

FORMS = [
    {},
    {"groups": 1},
    {"dyscope": True},
    {"style": "pl"},
    {"style": "pl", "groups": 8, "dyscope": True},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_computes_what_the_equations_say(options, size):
    neck = randomise(build("DySampleFPN", **options).double())
    assert_computes(neck, partial(dysample_fpn, **options), levels(size=size, dtype=torch.float64))


@pytest.mark.parametrize("prepare", [randomise, DySampleFPN.init_weights])
@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_parameter_gets_a_gradient_from_the_first_step_on(options, prepare):
    neck = build("DySampleFPN", **options)
    prepare(neck)
    assert without_gradient(neck, levels()) == (set(), set())


@pytest.mark.parametrize("style", ["lp", "pl"])
def test_starts_near_bilinear_interpolation(style):
    torch.manual_seed(0)
    neck = randomise(build("DySampleFPN", out_channels=64, style=style, dyscope=True))
    neck.init_weights()
    for name, parameter in neck.named_parameters():
        if "offset.weight" in name:
            assert parameter.std().item() == pytest.approx(0.001, rel=0.15)
        elif parameter.dim() == 1 or "scope" in name:
            assert not parameter.any()
        else:
            assert_uniform(parameter, (6 / (parameter[0].numel() + parameter[:, 0].numel())) ** 0.5)
    features = torch.randn(2, 64, 9, 7)
    bilinear = F.interpolate(features, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(neck.upsamplers[0](features), bilinear, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "lpl"}, "style is 'lpl'; allowed: lp, pl"),
        ({"groups": 3}, "groups is 3"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        DySampleFPN(SMALL, 16, 5, **options)


@pytest.mark.parametrize(("channels", "groups"), [(6, 6), (16, 3)])
def test_channels_must_divide_into_groups_and_sub_pixels(channels, groups):
    with pytest.raises(ValueError, match=f"{channels} channels"):
        DySample(channels, style="pl", groups=groups)
