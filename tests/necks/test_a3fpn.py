"""A3-FPN: reference numbers, equality with its equations, initialisation, unused levels, sizes, precisions, deployment."""

import sys

import pytest
import torch
from mmdet.registry import MODELS

from experiments.spec.study import load_study
from necks.a3fpn import A3FPN, DIRECTIONS
from necks.layers.context_attention import ContextResampler, IntraScaleContentAttention
from tests.necks.equations_a3fpn import literal_forward
from tests.necks.helpers import SMALL, assert_computes, build, level_sizes, levels, randomise, without_gradient

RESNET50 = [256, 512, 1024, 2048]
SETTINGS = load_study("a3fpn").settings
# Widths of 8, 8, 12 and 16, so that equal and unequal ones meet; numbers that differ from level to level.
NARROW = {"squeeze": (1, 2, 2, 2), "compress_channel": (3, 4, 5, 6), "group_num": (2, 4, 3, 4), "dcn_groups": (2, 1, 3, 4)}
LITE = {
    "squeeze": (1, 2, 4, 8),
    "using_resampling": (False, False, True),
    "compress_channel": (4, 4, 4, 4),
    "group_num": (2, 2, 2, 2),
    "dcn_groups": (2, 2, 2, 2),
    "expansion": 2,
    "offset_scale": 1.0,
}
# The single column has every module; its direction stands for the others where the columns do not matter.
SWITCHES = {
    "lite": {"direction": "top_down", **LITE},
    "P3 to P7": {"direction": "top_down", "end_level": 6},
    "P3 to P6": {"num_outs": 4, "end_level": 5},
    "P2 to P5": {"num_outs": 4},
    "pooled P3 to P7": {"end_level": 6, "extra_level": "pool"},
    "resampling in the first and last column": {"direction": "top_down", "using_resampling": (True, False, True)},
    "resampling in the only column": {"using_resampling": (False, False, True)},
    "no resampling": {"using_resampling": False},
    "half the grid": {"offset_scale": 0.5},
    "no depthwise convolution": {"dw_kernel_size": None},
    "wide depthwise convolution": {"dw_kernel_size": 5},
    "no output bias": {"dcn_output_bias": False},
    "no norm in the resampler": {"dcn_norm": None},
    "batch norm in the resampler": {"dcn_norm": {"type": "BN"}},
    "gate": {"center_feature_scale": True},
    "no middle tap": {"remove_center": True},
    "no projections": {"without_pointwise": True},
    "two blocks": {"num_repblocks": 2},
    "logits without convolution": {"expansion": 1},
    "softmax": {"weights": "softmax"},
    "no reassembly": {"reassembly": False},
    "higher threshold": {"threshold": 0.51},
    "no norm": {"norm_cfg": False},
}


def narrow(in_channels=SMALL, **options):
    return build("A3FPN", in_channels, **{**NARROW, **options})


def maps(size=(32, 64), **options):
    return levels(size=size, **options)


def first(number, **options):
    """Options for other numbers of levels than four."""
    return {name: (*values, values[-1])[:number] for name, values in NARROW.items()} | {"num_outs": number + 1, **options}


def deviations(outputs, references):
    pairs = zip(outputs, references, strict=True)
    return [((ours.double() - theirs).norm() / theirs.norm()).item() for ours, theirs in pairs]


@pytest.mark.parametrize(
    ("case", "setting", "options"),
    [
        ("a3fpn", "a3fpn_mmdet", {}),
        ("a3fpn_lite_pool", "a3fpn_lite", {}),
        ("a3fpn_lite", "a3fpn_lite", {"extra_level": "conv"}),
    ],
)
def test_equals_the_reference_numbers_in_float64(case, setting, options, reference_tools, monkeypatch):
    monkeypatch.syspath_prepend(reference_tools)
    monkeypatch.delitem(sys.modules, "check_neck", raising=False)
    from check_neck import check

    scale = {"in_channels": RESNET50, "out_channels": 256, "num_outs": 5}
    result = check(MODELS.build({**SETTINGS[setting].neck, **scale, **options}), case)
    assert result["ok"], result


def check_against_the_equations(neck, inputs, **options):
    # Parameters that are frozen because no output needs them have a gradient too then: zero in both forms.
    randomise(neck).double().eval().requires_grad_(True)
    options = {**NARROW, "num_outs": 5, **options}
    assert_computes(neck, lambda state, inputs: literal_forward(state, inputs, **options), inputs)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_computes_what_the_equations_say(direction):
    check_against_the_equations(narrow(direction=direction), maps(dtype=torch.float64), direction=direction)


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_does_what_the_equations_say(name):
    options = {"direction": "single", **SWITCHES[name]}
    check_against_the_equations(narrow(**options), maps((16, 24), dtype=torch.float64), **options)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_three_levels_do_what_the_equations_say(direction):
    options = first(3, direction=direction)
    inputs = maps((16, 24), in_channels=SMALL[:3], dtype=torch.float64)
    check_against_the_equations(narrow(SMALL[:3], **options), inputs, **options)


@pytest.mark.parametrize("again", [False, True])
def test_resamplers_give_zero_at_first(again):
    neck = narrow()
    resamplers = [module for module in neck.modules() if isinstance(module, ContextResampler)]
    assert len(resamplers) == 2 * 1 + 3 * 2 + 4 * 3
    if again:
        for resampler in resamplers:
            randomise(resampler.sampling)
        neck.init_weights()
    for resampler in resamplers:
        context, features = torch.randn(2, 2, resampler.value.in_channels, 8, 8)
        assert not resampler(context, features).any()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_first_step_moves_only_the_ends_of_a_resampler(direction):
    neck = narrow(direction=direction)
    neck.init_weights()
    missing, zero = without_gradient(neck, maps())
    moving = {"sampling.weight", "sampling.bias", "output.bias", "norm.bias"}
    resamplers = [name for name, module in neck.named_modules() if isinstance(module, ContextResampler)]
    for name in resamplers:
        parameters = {parameter for parameter, _ in neck.get_submodule(name).named_parameters()}
        assert {parameter for parameter in parameters if f"{name}.{parameter}" not in zero} == moving
    assert missing == set()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "options", [{}, LITE, {"center_feature_scale": True, "remove_center": True}, {"weights": "softmax"}, {"norm_cfg": False}]
)
def test_gradients_reach_every_parameter(direction, options):
    neck = randomise(narrow(direction=direction, **options))
    assert without_gradient(neck, maps()) == (set(), set())


@pytest.mark.parametrize(("num_outs", "end_level"), [(5, 6), (5, 7), (4, 5)])
def test_what_no_output_needs_is_frozen(num_outs, end_level):
    neck = randomise(narrow(num_outs=num_outs, end_level=end_level))
    frozen = {name for name, parameter in neck.named_parameters() if not parameter.requires_grad}
    neck.requires_grad_(True)
    assert without_gradient(neck, maps()) == (frozen, set())


def test_parameters_without_use_are_counted_at_full_width():
    with torch.device("meta"):
        neck = A3FPN(RESNET50, 256, 5, end_level=6)
    assert sum(parameter.numel() for parameter in neck.parameters() if not parameter.requires_grad) == 2_269_268


@pytest.mark.parametrize("extra_level", ["conv", "pool"])
@pytest.mark.parametrize(("num_outs", "end_level"), [(4, None), (4, 5), (5, None), (5, 6), (5, 8)])
def test_gives_as_many_outputs_as_asked(num_outs, end_level, extra_level):
    neck = narrow(num_outs=num_outs, end_level=end_level, extra_level=extra_level)
    end_level = end_level or num_outs
    expected = [(2, 16, *size) for size in level_sizes((32, 64), end_level)][end_level - num_outs :]
    assert [tuple(output.shape) for output in neck(maps())] == expected


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_takes_any_number_of_levels(number, direction):
    channels = [*SMALL, 40][:number]
    outputs = narrow(channels, **first(number, direction=direction))(maps(in_channels=channels))
    assert [tuple(output.shape[2:]) for output in outputs] == level_sizes((32, 64), number + 1)


@pytest.mark.parametrize(
    ("number", "size", "divisor"), [(3, (34, 64), 16), (4, (36, 64), 32), (4, (32, 60), 32), (4, (33, 27), 32)]
)
def test_sizes_that_do_not_halve_are_refused_with_the_divisor(number, size, divisor):
    neck = narrow(SMALL[:number], **first(number))
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}.*pad_size_divisor={divisor}"):
        neck(maps(size, in_channels=SMALL[:number]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_outs": 3}, "num_outs is 3; allowed: 4, 5"),
        ({"num_outs": 6}, "num_outs is 6; allowed: 4, 5"),
        ({"end_level": 4}, "end_level is 4; allowed: 5, 6, 7, 8"),
        ({"end_level": 9}, "end_level is 9; allowed: 5, 6, 7, 8"),
        ({"dcn_norm": "BN"}, "dcn_norm is 'BN'; allowed: 'LN', a dict, None"),
        ({"norm_cfg": True}, "norm_cfg is True; allowed: a dict, False"),
        ({"dw_kernel_size": 2}, "dw_kernel_size is 2; allowed: an odd number, None"),
        ({"dcn_groups": (0, 1, 1, 1)}, "every entry must be at least 1"),
        ({"squeeze": (1, 2, 4, 99)}, "squeeze is .*; allowed: at most the widths"),
        ({"compress_channel": (0, 1, 1, 1)}, "every entry must be at least 1"),
        ({"using_resampling": 1}, "using_resampling is 1; it must be a list of 3 entries"),
        ({"direction": "topdown"}, "direction is 'topdown'; allowed: top_down, bottom_up, single"),
        ({"weights": "relu"}, "weights is 'relu'; allowed: sigmoid, softmax"),
        ({"extra_level": "none"}, "extra_level is 'none'; allowed: conv, pool"),
        ({"squeeze": (1, 2, 2)}, "squeeze has 3 entries; it must have 4"),
        ({"compress_channel": (4,) * 5}, "compress_channel has 5 entries; it must have 4"),
        ({"group_num": (4,)}, "group_num has 1 entries; it must have 4"),
        ({"dcn_groups": ()}, "dcn_groups has 0 entries; it must have 4"),
        ({"using_resampling": (True,) * 4}, "using_resampling has 4 entries; it must have 3"),
        ({"group_num": (2, 4, 5, 4)}, "group_num of level 2 is 5; it must divide the level's 12 channels"),
        ({"dcn_groups": (2, 1, 3, 3)}, "dcn_groups of level 3 is 3; it must divide the level's 16 channels"),
    ],
)
def test_wrong_options_are_named_with_the_allowed_ones(options, message):
    with pytest.raises(ValueError, match=message):
        narrow(**options)


@pytest.mark.parametrize("options", [{}, {"norm_cfg": {"type": "BN", "eps": 0.1}}, {"norm_cfg": False}, {"num_repblocks": 2}])
def test_deployed_it_gives_the_same(options):
    neck = randomise(narrow(**options)).double().eval()
    with torch.no_grad():
        before = neck(maps(dtype=torch.float64))
        neck.deploy()
        after = neck(maps(dtype=torch.float64))
    assert not any(name.endswith(("conv3.weight", "conv1.weight")) for name in neck.state_dict())
    for ours, reference in zip(after, before, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


def test_deployed_it_gives_the_same_in_single_precision():
    neck = narrow().eval()
    before = neck(maps())
    neck.deploy()
    for ours, reference in zip(neck(maps()), before, strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=2e-6)


def test_deploying_twice_is_harmless():
    neck = narrow().eval()
    neck.deploy()
    before = neck(maps())
    neck.deploy()
    for ours, reference in zip(neck(maps()), before, strict=True):
        assert torch.equal(ours, reference)


def test_deploying_another_norm_is_refused():
    with pytest.raises(ValueError, match="GroupNorm depends on its input"):
        narrow(norm_cfg={"type": "GN", "num_groups": 1}).deploy()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_trains_under_automatic_mixed_precision(direction):
    neck = narrow(direction=direction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = neck(maps())
    sum(output.float().square().mean() for output in mixed).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in neck.parameters())
    assert {output.dtype for output in mixed} == {torch.bfloat16}


# The reassembly's threshold turns a rounding into a jump, and what follows spreads it; so the rest is tested without it.
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("as_a_whole", [False, True])
def test_half_precision_stays_near_without_thresholds(as_a_whole, direction):
    neck = randomise(narrow(direction=direction, reassembly=False)).eval()
    exact = neck(maps())
    if as_a_whole:
        outputs = neck.bfloat16()(maps(dtype=torch.bfloat16))
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = neck(maps())
    assert {output.dtype for output in outputs} == {torch.bfloat16}
    assert max(deviations(outputs, exact)) < 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_does_not_blunt_the_threshold(autocast, dtype):
    reassembly = IntraScaleContentAttention(256, 16, 0.5)
    features = torch.randn(2, 256, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = reassembly(features.float())
    if autocast:
        with torch.autocast("cpu", dtype=dtype):
            output = reassembly(features)
    else:
        output = reassembly.to(dtype)(features)
    assert deviations([output], [exact])[0] < 0.02


def test_compiles_to_one_graph():
    neck = randomise(narrow(SMALL[:2], **first(2))).double().eval()
    inputs = maps(in_channels=SMALL[:2], dtype=torch.float64)
    compiled = torch.compile(neck, backend="aot_eager", fullgraph=True)
    for ours, reference in zip(compiled(inputs), neck(inputs), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)


def test_channels_last_gives_the_same_result():
    neck = randomise(narrow()).double().eval()
    plain = neck(maps(dtype=torch.float64))
    last = neck.to(memory_format=torch.channels_last)(
        [level.to(memory_format=torch.channels_last) for level in maps(dtype=torch.float64)]
    )
    for ours, reference in zip(last, plain, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"extra_level": "pool", "end_level": 6}, {"reassembly": False}])
def test_outputs_have_the_memory_format_of_the_inputs(memory_format, options):
    outputs = narrow(**options)([level.contiguous(memory_format=memory_format) for level in maps()])
    assert all(output.is_contiguous(memory_format=memory_format) for output in outputs)


def test_is_deterministic_in_eval_mode():
    neck = randomise(narrow()).eval()
    for one, other in zip(neck(maps()), neck(maps()), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_images_of_a_batch_do_not_see_each_other(direction):
    neck = randomise(narrow(direction=direction)).double().eval()
    inputs = maps(batch=3, dtype=torch.float64)
    together = neck(inputs)
    for image in range(3):
        alone = neck([level[image : image + 1] for level in inputs])
        for ours, reference in zip(alone, together, strict=True):
            torch.testing.assert_close(ours, reference[image : image + 1], rtol=1e-10, atol=1e-10)


def test_a_level_too_few_is_named():
    with pytest.raises(ValueError, match="got 3 levels; in_channels names 4"):
        narrow()(levels(size=(32, 64))[:3])


def test_one_contiguous_level_makes_all_outputs_contiguous():
    inputs = levels(size=(32, 64))
    inputs[1] = inputs[1].contiguous(memory_format=torch.channels_last)
    assert all(output.is_contiguous() for output in narrow()(inputs))
