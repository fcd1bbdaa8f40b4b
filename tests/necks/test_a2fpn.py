"""The A²-FPN family: reference numbers, equality with mmdet's FPN and PAFPN, sizes, precisions, switches."""

import sys

import pytest
import torch
from mmdet.registry import MODELS

from experiments.spec.study import load_study
from necks.a2fpn import A2FPN, BOTTOM_UPS, EXTRA_LEVELS, LATERALS, TOP_DOWNS
from necks.layers.attention import l2_normalize
from tests.necks.equations_a2fpn import literal_forward

RESNET50 = [256, 512, 1024, 2048]
SMALL = [8, 16, 24, 32]
# The necks of Tables 2 to 6; Table 1 has them in other detectors.
SETTINGS = {
    name: setting
    for name, setting in load_study("a2fpn").settings.items()
    if setting.detector == "mask_rcnn" and setting.backbone == "resnet50" and setting.schedule == "1x"
}
FINGERPRINT_NAMES = {"mgc_ascending": "mgc_n64im1", "mgc_uniform": "mgc_n160"}


def build(options, in_channels=SMALL, out_channels=16, num_outs=5):
    return MODELS.build(
        {"type": "A2FPN", **options, "in_channels": in_channels, "out_channels": out_channels, "num_outs": num_outs}
    )


def levels(in_channels=SMALL, size=(32, 40), batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    sizes = [size]
    for _ in in_channels[1:]:
        sizes.append(tuple(-(-length // 2) for length in sizes[-1]))
    return [torch.randn(batch, c, *s, generator=generator).to(dtype) for c, s in zip(in_channels, sizes, strict=True)]


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_reference_numbers_in_float64(name, reference_tools, monkeypatch):
    monkeypatch.syspath_prepend(reference_tools)
    monkeypatch.delitem(sys.modules, "check_neck", raising=False)
    from check_neck import check

    neck = MODELS.build({**SETTINGS[name].neck, "in_channels": RESNET50, "out_channels": 256, "num_outs": 5})
    result = check(neck, FINGERPRINT_NAMES.get(name, name))
    assert result["ok"], result


@pytest.mark.parametrize(
    ("mmdet_neck", "bottom_up", "renamed"),
    [("FPN", "none", {}), ("PAFPN", "conv", {"downsample_convs": "bottom_up_fusions"})],
)
@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_switches_give_mmdets_own_necks(mmdet_neck, bottom_up, renamed, size):
    theirs = MODELS.build({"type": mmdet_neck, "in_channels": SMALL, "out_channels": 16, "num_outs": 5})
    ours = build({"lateral": "conv", "top_down": "nearest", "bottom_up": bottom_up, "extra_level": "pool"})
    state = theirs.state_dict()
    for old, new in renamed.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    ours.load_state_dict(state, strict=True)
    for mine, other in zip(ours(levels(size=size)), theirs(levels(size=size)), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("lateral", LATERALS)
@pytest.mark.parametrize("top_down", TOP_DOWNS)
@pytest.mark.parametrize("bottom_up", BOTTOM_UPS)
@pytest.mark.parametrize("extra_level", EXTRA_LEVELS)
def test_every_combination_takes_odd_sizes_and_trains_every_parameter(lateral, top_down, bottom_up, extra_level):
    neck = build({"lateral": lateral, "top_down": top_down, "bottom_up": bottom_up, "extra_level": extra_level})
    neck.init_weights()
    outputs = neck(levels(size=(33, 27)))
    assert [tuple(output.shape) for output in outputs] == [(2, 16, *s) for s in [(33, 27), (17, 14), (9, 7), (5, 4), (3, 2)]]
    sum((output * output).sum() for output in outputs).backward()
    # Distributed training waits for the gradient of every parameter, also of those that change nothing.
    assert [name for name, p in neck.named_parameters() if p.grad is None] == []
    # A bias in front of a softmax shifts all its logits alike: its gradient is zero up to rounding.
    expected = {n: p for n, p in neck.named_parameters() if not n.endswith(("entities.bias", "mask.bias"))}
    assert [name for name, p in expected.items() if not p.grad.any()] == []


@pytest.mark.parametrize("options", [{}, {"context_ratio": 0.5}, {"activation": "sigmoid"}])
@pytest.mark.parametrize("size", [(64, 96), (33, 27)])
@pytest.mark.parametrize(("dtype", "of_outputs", "of_gradients"), [(torch.float64, 1e-10, 1e-10), (torch.float32, 1e-5, 1e-4)])
def test_computes_what_the_equations_say_with_less_work(options, size, dtype, of_outputs, of_gradients):
    # With some weights rounding moves a value over the kink of a ReLU, whose gradient jumps there.
    torch.manual_seed(7)
    neck = build(options).to(dtype)
    neck.init_weights()
    results = []
    for forward in (neck, lambda inputs: literal_forward(neck, inputs)):
        inputs = [level.requires_grad_() for level in levels(size=size, dtype=dtype)]
        outputs = forward(inputs)
        trained = [p for name, p in neck.named_parameters() if not name.endswith(("entities.bias", "mask.bias"))]
        gradients = torch.autograd.grad(sum(output.sin().sum() for output in outputs), [*inputs, *trained])
        results.append([*outputs, *gradients])
    for number, (ours, literal) in enumerate(zip(*results, strict=True)):
        tolerance = of_outputs if number < len(outputs) else of_gradients
        assert (ours - literal).abs().max() <= tolerance * literal.abs().max()


@pytest.mark.parametrize("num_outs", [4, 5, 6])
@pytest.mark.parametrize("extra_level", EXTRA_LEVELS)
def test_gives_as_many_outputs_as_asked(num_outs, extra_level):
    assert len(build({"extra_level": extra_level}, num_outs=num_outs)(levels())) == num_outs


def test_takes_any_number_and_width_of_levels():
    channels = [4, 10, 30]
    outputs = build({}, in_channels=channels, out_channels=8, num_outs=4)(levels(channels))
    assert [output.shape[1] for output in outputs] == [8] * 4


@pytest.mark.parametrize("name", ["a2fpn", "a2fpn_lite", "carafe", "cap"])
def test_trains_under_automatic_mixed_precision(name):
    neck = build({k: v for k, v in SETTINGS[name].neck.items() if k != "type"})
    neck.init_weights()
    exact = neck(levels())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = neck(levels())
    sum(output.float().square().mean() for output in mixed).backward()
    assert all(torch.isfinite(p.grad).all() for p in neck.parameters())
    for ours, reference in zip(mixed, exact, strict=True):
        assert (ours.float() - reference).norm() < 0.05 * reference.norm()


def test_laterals_keep_the_precision_of_autocast():
    neck = build({})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        laterals = neck.context(levels())
    assert {lateral.dtype for lateral in laterals} == {torch.bfloat16}


def test_computes_in_half_precision_as_a_whole():
    neck = build({})
    neck.init_weights()
    exact = neck(levels())
    for ours, reference in zip(neck.bfloat16()(levels(dtype=torch.bfloat16)), exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - reference).norm() < 0.05 * reference.norm()


def test_compiles_to_one_graph():
    neck = build({})
    compiled = torch.compile(neck, backend="aot_eager", fullgraph=True)
    for ours, reference in zip(compiled(levels()), neck(levels()), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_normalising_large_half_precision_vectors_does_not_overflow():
    features = 300 * levels(dtype=torch.float16)[0]
    assert torch.isinf((features * features).sum(1)).any()
    norms = l2_normalize(features).float().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-2, atol=1e-2)


def test_channels_last_gives_the_same_result():
    neck = build({}).double()
    neck.init_weights()
    plain = neck(levels(dtype=torch.float64))
    last = neck.to(memory_format=torch.channels_last)(
        [level.to(memory_format=torch.channels_last) for level in levels(dtype=torch.float64)]
    )
    for ours, reference in zip(last, plain, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_have_the_memory_format_of_the_inputs(memory_format):
    outputs = build({})([level.contiguous(memory_format=memory_format) for level in levels()])
    assert all(output.is_contiguous(memory_format=memory_format) for output in outputs)


def test_is_deterministic_in_eval_mode():
    neck = build({}).eval()
    for first, second in zip(neck(levels()), neck(levels()), strict=True):
        assert torch.equal(first, second)


def test_2sigmoid_scales_twice_as_much_as_sigmoid():
    scales = {}
    for activation in ("2sigmoid", "sigmoid"):
        torch.manual_seed(0)
        attention = build({"activation": activation}).top_down_fusions[0].attention
        scales[activation] = torch.cat(attention(torch.randn(2, 32)), dim=1)
    torch.testing.assert_close(scales["2sigmoid"], 2 * scales["sigmoid"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lateral": "mcg"}, "lateral is 'mcg'; allowed: conv, mgc"),
        ({"top_down": "cap"}, "top_down is 'cap'; allowed: nearest, carafe, gacarafe"),
        ({"bottom_up": "nearest"}, "allowed: none, conv, cap, gacap"),
        ({"extra_level": "none"}, "allowed: pool, conv"),
        ({"contexts": "64"}, "allowed: descending, ascending, uniform"),
        ({"activation": "relu"}, "allowed: 2sigmoid, sigmoid"),
        ({"context_ratio": 0.4}, "multiple of 4"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        A2FPN(SMALL, 16, 5, **options)


def test_fewer_outputs_than_inputs_are_refused():
    with pytest.raises(ValueError, match="num_outs is 3"):
        A2FPN(SMALL, 16, 3)
