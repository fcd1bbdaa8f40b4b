"""FusionFPN is FPN but for the fusion, and each fusion is its paper's: equal to FPN and to the papers' necks."""

import pytest
import torch
from torch.autograd import gradcheck

from necks.fusion_fpn import FUSIONS
from necks.layers.weighted_fusion import ContextWeightedSum, FastNormalisedSum
from tests.necks.helpers import assert_computes, build, levels, randomise

NORM = {"type": "BN"}
# A neck of another file that is FPN with the same fusion: its name and options.
PAPERS = {
    "add": ("FPN", {}),
    "concat": ("AFFFPN", {"fusion": "concat"}),
    "aff": ("AFFFPN", {"fusion": "aff", "norm_cfg": NORM}),
    "iaff": ("AFFFPN", {"fusion": "iaff", "norm_cfg": NORM}),
    "align": ("FaPN", {"use_fsm": False, "conv_on_p5": True}),
    "carafe": ("A2FPN", {"lateral": "conv", "top_down": "carafe", "bottom_up": "none", "extra_level": "pool"}),
    "gacarafe": ("A2FPN", {"lateral": "conv", "top_down": "gacarafe", "bottom_up": "none", "extra_level": "pool"}),
}


@pytest.mark.parametrize("fusion", PAPERS)
def test_each_fusion_is_its_papers(fusion):
    name, options = PAPERS[fusion]
    ours, theirs = build("FusionFPN", fusion=fusion).double(), randomise(build(name, **options).double())
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data.copy_(other.data)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        mine.copy_(other)
    inputs = levels(dtype=torch.float64)
    for output, expected in zip(ours.eval()(inputs), theirs.eval()(inputs), strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)


def fpn_with(fusion):
    """FPN from the state of a FusionFPN, with a fusion of the state's part of a level, a lateral and the enlarged upper map."""

    def literal(state, inputs):
        conv = torch.nn.functional.conv2d
        merged = None
        results = []
        for level in reversed(range(len(inputs))):
            weight, bias = (state[f"lateral_convs.{level}.{part}"] for part in ("weight", "bias"))
            lateral = conv(inputs[level], weight, bias)
            if merged is None:
                merged = lateral
            else:
                rows, columns = (
                    (torch.arange(large) * small // large)
                    for small, large in zip(merged.shape[2:], lateral.shape[2:], strict=True)
                )
                part = {
                    name.removeprefix(f"fusions.{level}.fusion."): value
                    for name, value in state.items()
                    if name.startswith(f"fusions.{level}.fusion.")
                }
                merged = fusion(part, lateral, merged[:, :, rows][:, :, :, columns])
            weight, bias = (state[f"output_convs.{level}.{part}"] for part in ("weight", "bias"))
            results.append(conv(merged, weight, bias, padding=1))
        outputs = results[::-1]
        return (*outputs, outputs[-1][:, :, ::2, ::2])

    return literal


def fast_normalised(state, x, y):
    first, second = (weight.clamp(min=0) for weight in state["weights"])
    return (first * x + second * y) / (first + second + 1e-4)


def context_weighted(state, x, y):
    """A3-FPN's section 3.3 without resampling: narrow copies, weight generator, sigmoid; in eval mode."""

    def normalised(values, prefix):
        mean, var, weight, bias = (
            state[f"{prefix}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (values - mean) / (var + 1e-5).sqrt() * weight + bias

    def gelu(values):
        return values * 0.5 * (1 + torch.erf(values / 2**0.5))

    def block(values, prefix, padding=0):
        return gelu(
            normalised(torch.nn.functional.conv2d(values, state[f"{prefix}.conv.weight"], padding=padding), f"{prefix}.norm")
        )

    conv = torch.nn.functional.conv2d
    narrow = torch.cat([block(y, "attention.compressions.0"), block(x, "attention.compressions.1")], dim=1)
    generator = "attention.weight_generator"
    deep = block(narrow, f"{generator}.deep.0")
    rep = f"{generator}.deep.1"
    deep = gelu(
        normalised(conv(deep, state[f"{rep}.conv3.weight"], padding=1), f"{rep}.norm3")
        + normalised(conv(deep, state[f"{rep}.conv1.weight"]), f"{rep}.norm1")
    )
    both = deep + block(narrow, f"{generator}.shallow")
    logits = conv(both, state[f"{generator}.output.weight"], state[f"{generator}.output.bias"])
    of_upper, of_lateral = (1 / (1 + (-logits).exp())).split(1, dim=1)
    return of_upper * y + of_lateral * x


@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
@pytest.mark.parametrize(("fusion", "literal"), [("fast_normalised", fast_normalised), ("context", context_weighted)])
def test_computes_what_the_equations_say(fusion, literal, size):
    neck = randomise(build("FusionFPN", fusion=fusion).double()).eval()
    assert_computes(neck, fpn_with(literal), levels(size=size, dtype=torch.float64))


@pytest.mark.parametrize("fusion", [FastNormalisedSum(), ContextWeightedSum(4)])
def test_gradients_are_right(fusion):
    maps = [torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert gradcheck(randomise(fusion.double()).eval(), maps)


def test_weights_below_zero_count_nothing():
    fusion = FastNormalisedSum()
    x, y = torch.randn(2, 1, 3, 4, 4)
    assert torch.allclose(fusion(x, y), (x + y) / 2, atol=1e-4)
    fusion.weights.data.copy_(torch.tensor([2.0, -1.0]))
    assert torch.allclose(fusion(x, y), x, atol=1e-3)
    fusion.weights.data.fill_(-1.0)
    assert not fusion(x, y).any()


def test_all_fusions_have_fpns_initialisation():
    fpn = build("FPN")
    fpn.init_weights()
    spread = {name: p.detach().std() for name, p in fpn.named_parameters() if p.dim() == 4}
    for fusion in FUSIONS:
        neck = build("FusionFPN", fusion=fusion)
        neck.init_weights()
        for level in range(4):
            assert neck.lateral_convs[level].weight.detach().std() == pytest.approx(
                float(spread[f"lateral_convs.{level}.conv.weight"]), rel=0.4
            )
            assert not neck.lateral_convs[level].bias.any()
    aligned = build("FusionFPN", fusion="align")
    aligned.init_weights()
    assert not any(fusion.fusion.alignment.sampling_conv.weight.any() for fusion in aligned.fusions)


def test_what_is_not_allowed_is_named():
    with pytest.raises(ValueError, match="FusionFPN: fusion is 'sum'; allowed: add, concat, fast_normalised"):
        build("FusionFPN", fusion="sum")
    with pytest.raises(ValueError, match="out_channels is 12; with fusion 'align' allowed: multiples of 8"):
        build("FusionFPN", out_channels=12, fusion="align")
