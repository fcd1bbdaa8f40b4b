"""The pyramids of decoders as necks: their equations, and what they refuse."""

import pytest
import torch

from necks.decoder_fpn import SequentialFPN, UPerFPN
from tests.necks.equations_layers import conv, enlarge_bilinear
from tests.necks.helpers import assert_computes, levels, randomise

WIDTHS = [6, 10, 14, 8]


def inputs(size=(17, 13)):
    return levels(WIDTHS, size=size, dtype=torch.float64)


def uper_fpn(state, maps):
    merged = [maps[-1]]
    for level in reversed(range(3)):
        lateral = conv(state, f"lateral_convs.{level}.conv", maps[level]).clamp(min=0)
        merged = [lateral + enlarge_bilinear(merged[0], lateral.shape[2:]), *merged]
    return [conv(state, f"fpn_convs.{level}.conv", merged[level]).clamp(min=0) for level in range(3)] + merged[3:]


def encoded_fpn(state, maps):
    lateral = conv(state, "lateral_convs.0.conv", maps[0])
    finest = conv(state, "output_convs.0.conv", lateral + enlarge_bilinear(maps[1], lateral.shape[2:])).clamp(min=0)
    return [finest, *maps[1:]]


def test_uppernets_pyramid_computes_what_its_equations_say():
    neck = UPerFPN(WIDTHS, 8, 4, norm_cfg=False)
    assert_computes(randomise(neck.double().eval()), uper_fpn, inputs())


def test_mask2formers_pyramid_convolves_the_finest_level_alone():
    neck = SequentialFPN([6, 8, 8, 8], 8, 4, encoded=3, mode="bilinear", norm_cfg=False)
    maps = levels([6, 8, 8, 8], size=(17, 13), dtype=torch.float64)
    assert_computes(randomise(neck.double().eval()), encoded_fpn, maps)


@pytest.mark.parametrize(
    ("neck", "options", "words"),
    [
        (UPerFPN, {"num_outs": 5}, "UPerFPN: num_outs is 5; allowed: 4"),
        (UPerFPN, {"out_channels": 4}, r"UPerFPN: in_channels\[-1\] is 8; allowed: 4"),
        (SequentialFPN, {"num_outs": 3}, "SequentialFPN: num_outs is 3; allowed: 4"),
        (SequentialFPN, {"mode": "cubic"}, "SequentialFPN: mode is 'cubic'; allowed: nearest, bilinear"),
        (SequentialFPN, {"encoded": 4}, "SequentialFPN: encoded is 4; allowed: 0, 1, 2, 3"),
        (SequentialFPN, {"encoded": 2}, "SequentialFPN: in_channels of encoded levels is 14; allowed: 8"),
    ],
)
def test_wrong_options_are_refused(neck, options, words):
    with pytest.raises(ValueError, match=words):
        neck(**{"in_channels": WIDTHS, "out_channels": 8, "num_outs": 4, **options})
