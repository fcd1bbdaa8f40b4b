"""FCAT: its equations, with the quirk of its first step, and its initialisation."""

import pytest
import torch

from tests.necks.equations_afa import fcat
from tests.necks.helpers import assert_computes, assert_uniform, build, levels, randomise, without_gradient


@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_computes_what_the_equations_say(size):
    assert_computes(randomise(build("FCAT").double()), fcat, levels(size=size, dtype=torch.float64))


def test_every_parameter_gets_a_gradient():
    assert without_gradient(randomise(build("FCAT")), levels()) == (set(), set())


def test_starts_with_xavier():
    torch.manual_seed(0)
    neck = randomise(build("FCAT"))
    neck.init_weights()
    for parameter in neck.parameters():
        if parameter.dim() > 1:
            assert_uniform(parameter, (6 / (parameter[0].numel() + parameter[:, 0].numel())) ** 0.5)
        else:
            assert not parameter.any()
