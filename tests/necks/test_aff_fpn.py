"""AFF-FPN and iAFF-FPN: their equations, their initialisation, their options, small batches."""

from functools import partial

import pytest
import torch

from necks.aff_fpn import AFFFPN
from necks.layers.attentional_fusion import FUSIONS, build_fusion
from tests.necks.equations_aff_fpn import aff_fpn
from tests.necks.helpers import SMALL, assert_computes, build, levels, randomise, without_gradient

LAYER_NORM = {"type": "GN", "num_groups": 1}
FORMS = [
    *({"fusion": fusion} for fusion in FUSIONS),
    {"context": "global+global"},
    {"context": "local+local"},
    {"fusion": "iaff", "context": "global+global"},
    {"scale": 1, "reduction": 2},
    {"norm_cfg": {"type": "GN", "num_groups": 2}},
    {"norm_cfg": {"type": "BN"}, "global_norm_cfg": LAYER_NORM},
]
SHARED = {"fusion": "iaff", "share_second_global": True}


@pytest.mark.parametrize("options", [*FORMS, SHARED], ids=str)
@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_computes_what_the_equations_say(options, size):
    neck = randomise(build("AFFFPN", **options).double().eval())
    known = {name: value for name, value in options.items() if not name.endswith("norm_cfg") and name != "reduction"}
    for name in ("norm", "global_norm"):
        known[f"{name}_groups"] = options.get(f"{name}_cfg", {}).get("num_groups")
    assert_computes(neck, partial(aff_fpn, **known), levels(size=size, dtype=torch.float64))


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_parameter_gets_a_gradient(options):
    neck = randomise(build("AFFFPN", **options).eval())
    assert without_gradient(neck, levels()) == (set(), set())


def test_a_shared_global_branch_leaves_only_the_second_one_unused():
    neck = randomise(build("AFFFPN", **SHARED).eval())
    unused = {name for name, _ in neck.named_parameters() if "second_attention.branches.0" in name}
    assert len(unused) == 3 * 8
    assert without_gradient(neck, levels()) == (unused, set())


def test_starts_with_kaiming_and_neutral_norms():
    torch.manual_seed(0)
    neck = build("AFFFPN", in_channels=[64, 64], out_channels=64, fusion="iaff")
    neck.init_weights()
    for name, parameter in neck.named_parameters():
        if parameter.dim() > 1:
            fan_out = parameter[:, 0].numel()
            assert parameter.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
        else:
            torch.testing.assert_close(parameter, torch.full_like(parameter, name.endswith("norm.weight")), rtol=0, atol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fuses_maps_of_different_precision(fusion):
    """On CUDA, autocast gives laterals in half precision and enlarged maps in float32."""
    x, y = torch.randn(2, 2, 16, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = build_fusion(fusion, 16).eval()(x.bfloat16(), y)
    assert torch.isfinite(fused).all()


def test_one_image_trains_with_a_layer_norm_in_the_global_branch():
    neck = build("AFFFPN", norm_cfg={"type": "BN"}, global_norm_cfg=LAYER_NORM).train()
    missing, _ = without_gradient(neck, levels(batch=1))
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in neck.parameters())


def test_one_image_is_too_few_for_batch_norm_in_the_global_branch():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        build("AFFFPN", norm_cfg={"type": "BN"}).train()(levels(batch=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, "fusion is 'sum'; allowed: aff, iaff, add, concat, ms_gau, ms_se, ms_sa"),
        ({"context": "global"}, r"context is 'global'; allowed: global\+local, global\+global, local\+local"),
        ({"scale": 3}, "scale is 3; allowed: 1, 2"),
        ({"reduction": 32}, "reduction is 32"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        AFFFPN(SMALL, 16, 5, **options)
