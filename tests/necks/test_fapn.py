"""FaPN: its equations, its initialisation, its options."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from necks.fapn import FaPN
from tests.necks.equations_fapn import fapn, fapn_decoder
from tests.necks.helpers import SMALL, assert_computes, assert_uniform, build, levels, randomise, without_gradient

FORMS = [
    {},
    {"use_fsm": False},
    {"use_fam": False},
    {"use_fsm": False, "use_fam": False},
    {"deform_groups": 1, "offset_feat_scale": 1.0},
    {"norm_cfg": {"type": "GN", "num_groups": 4}},
    {"norm_cfg": {"type": "BN"}, "conv_on_p5": True, "use_fsm": False},
    {"conv_on_p5": True, "num_outs": 6},
    {"extra_levels": "conv_c5", "start_level": 1},
    {"extra_levels": "conv_p5", "conv_on_p5": True, "num_outs": 6},
    {"extra_levels": "conv_p5", "start_level": 2},
]


def initialised(**options):
    torch.manual_seed(0)
    neck = randomise(build("FaPN", **options))
    neck.init_weights()
    return neck


@pytest.mark.parametrize("options", FORMS, ids=str)
# Few positions: on a CPU mmcv rounds them to float32 before it takes their floor, so that, also in float64, one in about a
# million lies in another cell, where gradients differ.
@pytest.mark.parametrize("size", [(16, 20), (17, 13)])
def test_computes_what_the_equations_say(options, size):
    neck = randomise(build("FaPN", **options).double().eval())
    known = {name: value for name, value in options.items() if name not in ("norm_cfg", "deform_groups")}
    literal = partial(fapn, **known, norm_groups=options.get("norm_cfg", {}).get("num_groups"))
    assert_computes(neck, literal, levels(size=size, dtype=torch.float64))


@pytest.mark.parametrize("size", [(16, 20), (17, 13)])
def test_the_decoders_form_computes_what_its_equations_say(size):
    neck = randomise(build("FaPNDecoder", num_outs=4, norm_cfg={"type": "GN", "num_groups": 4}).double().eval())
    assert_computes(neck, partial(fapn_decoder, norm_groups=4), levels(size=size, dtype=torch.float64))


def test_the_decoders_form_shares_a_normalisation_in_each_level():
    neck = build("FaPNDecoder", num_outs=4)
    for conv, alignment in zip(neck.output_convs, neck.alignments, strict=True):
        assert conv.norm is alignment.offset_feature_conv.norm
    assert without_gradient(randomise(neck.eval()), levels()) == (set(), set())


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_parameter_gets_a_gradient(options):
    neck = randomise(build("FaPN", **options).eval())
    assert without_gradient(neck, levels()) == (set(), set())


def test_offset_features_learn_from_the_second_step_on():
    neck = initialised()
    zeros = {f"alignments.{level}.offset_feature_conv.conv.weight" for level in range(3)}
    assert without_gradient(neck, levels()) == (set(), zeros)
    torch.optim.SGD(neck.parameters(), lr=0.1).step()
    assert without_gradient(neck, levels()) == (set(), set())


def test_alignment_starts_as_half_a_plain_convolution():
    alignment = initialised().alignments[0].double()
    upper, lateral = torch.randn(2, 2, 16, 9, 7, dtype=torch.float64)
    convolved = F.conv2d(upper, alignment.deform_conv.weight, padding=1)
    torch.testing.assert_close(alignment(upper, lateral), (convolved / 2).relu(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"use_fsm": False, "extra_levels": "conv_c5"}], ids=str)
def test_starts_as_the_original_does(options):
    for name, layer in initialised(**options).named_modules():
        if not hasattr(layer, "weight"):
            continue
        fan_in = layer.weight[0].numel()
        # torch's own initialisation of the highest lateral and that of mmcv's operator have the same range.
        of_torch = name.startswith("top_lateral_conv") or name.endswith("deform_conv")
        if name.endswith("sampling_conv"):
            assert not layer.weight.any()
        else:
            assert_uniform(layer.weight, fan_in**-0.5 if of_torch else (3 / fan_in) ** 0.5)
        if name.startswith("top_lateral_conv"):
            assert_uniform(layer.bias, fan_in**-0.5)
        else:
            assert layer.bias is None or not layer.bias.any()


def test_highest_output_is_the_raw_lateral():
    neck = initialised()
    torch.testing.assert_close(neck(levels())[3], neck.top_lateral_conv(levels()[3]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_levels": "conv"}, "extra_levels is 'conv'; allowed: pool, conv_c5, conv_p5"),
        ({"start_level": 4}, "start_level is 4; allowed: 0, 1, 2, 3"),
        ({"deform_groups": 3}, "out_channels is 16; it must be a multiple of deform_groups, 3"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        FaPN(SMALL, 16, 5, **options)
