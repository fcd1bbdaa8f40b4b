"""AFA (MSSA, MSCA and their adaptive forms): equations, initialisation, options, small maps."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from necks.afa import AFA
from tests.necks.equations_afa import afa
from tests.necks.helpers import SMALL, assert_computes, assert_uniform, build, levels, randomise, without_gradient

FORMS = [
    *({"mode": mode, "pool": pool} for mode, pool in product(("self", "cross"), ("two_scale", [7], [7, 14]))),
    {"heads": 2, "mlp_ratio": 3},
    {"use_dwconv": False, "pool_norm": False},
    {"mode": "cross", "pool": [3], "use_dwconv": False, "pool_norm": False},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_computes_what_the_equations_say(options, size):
    neck = randomise(build("AFA", **options).double())
    known = {name: value for name, value in options.items() if name != "mlp_ratio"}
    assert_computes(neck, partial(afa, **known), levels(size=size, dtype=torch.float64))


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_parameter_gets_a_gradient(options):
    assert without_gradient(randomise(build("AFA", **options)), levels()) == (set(), set())


@pytest.mark.parametrize("mode", ["self", "cross"])
def test_starts_as_the_original_does(mode):
    torch.manual_seed(0)
    neck = build("AFA", out_channels=64, mode=mode)
    neck.init_weights()
    for layer in neck.modules():
        if isinstance(layer, nn.Conv2d):
            places = layer.weight[0, 0].numel()
            assert_uniform(layer.weight, (6 / (places * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5)
        elif isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        elif isinstance(layer, nn.LayerNorm):
            assert (layer.weight == 1).all()
        if getattr(layer, "bias", None) is not None:
            assert not layer.bias.any()


def test_adaptive_pooling_takes_maps_that_are_too_small_for_fixed_cells():
    assert [tuple(output.shape[2:]) for output in build("AFA", pool=[7])(levels(size=(8, 8)))][:2] == [(8, 8), (4, 4)]
    with pytest.raises(ValueError, match="a level of 1 x 1 is too small for pooling by 2 x 2"):
        build("AFA")(levels(size=(8, 8)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "both"}, "mode is 'both'; allowed: self, cross"),
        ({"pool": "adaptive"}, "pool is 'adaptive'; allowed: 'two_scale', or a list of grid sizes"),
        ({"pool": []}, "pool is"),
        ({"pool": 7}, "pool is"),
        ({"heads": 3}, "out_channels is 16; it must be a multiple of heads, 3"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        AFA(SMALL, 16, 5, **options)
