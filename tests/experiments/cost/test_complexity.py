"""Parameters and FLOPs of Table 6 in the paper's convention, and honest ones."""

import statistics

import pytest
import torch

from experiments.cost.complexity import TensorMemory, count
from experiments.cost.speed import _warm_up_length, frames_per_second, measure
from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting
from experiments.spec.study import load_study

pytestmark = pytest.mark.long

STUDY = load_study("a2fpn")
EXPECTED = {
    "fpn": (44_176_374, "283.28", 3_344_384),
    "pafpn": (47_716_854, "309.06", 6_884_864),
    "a2fpn": (57_493_490, "375.39", 16_661_500),
    "a2fpn_lite": (48_829_747, "319.91", 7_997_757),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_paper_convention_gives_the_printed_numbers_of_table_6(name):
    counted = count(Run(STUDY.settings[name], load_scale("coco"), seed=0))
    parameters, flops, neck_parameters = EXPECTED[name]
    assert counted["parameters"] == parameters
    assert f"{counted['flops'] / 1e9:.2f}" == flops
    assert counted["neck_parameters"] == neck_parameters
    row = next(row for row in STUDY.tables["table6"].rows if row.setting == STUDY.settings[name])
    assert round(counted["parameters"] / 1e6, 2) == row.published["parameters"]
    assert counted["flops"] / 1e9 == pytest.approx(row.published["flops"], abs=0.0101)


def test_honest_flops_count_what_is_computed_instead_of_the_papers_convolutions():
    """The attention products that the convention leaves out, less what embedding and projecting contexts only saves."""
    scale = load_scale("coco")
    mgc, pafpn = (count(Run(STUDY.settings[name], scale, seed=0)) for name in ("mgc", "pafpn"))
    difference = (mgc["all_flops"] - pafpn["all_flops"]) - (mgc["flops"] - pafpn["flops"])
    levels = zip((4, 8, 16, 32), (256, 512, 1024, 2048), (256, 192, 128, 64), strict=True)
    expected = sum(
        (832 // stride) * (1280 // stride) * (2 * 640 * 256 + channels * number - channels * 256 - 256 * 256)
        for stride, channels, number in levels
    )
    assert difference == pytest.approx(expected, rel=0.02)


def test_htcs_semantic_branch_and_the_links_between_its_mask_heads_are_counted():
    scale = load_scale("demo")
    htc = STUDY.settings["htc_fpn"]
    cascade = htc.replace(detector="cascade_mask_rcnn")
    heads = scale.detectors["htc"].config["roi_head"]["mask_head"]
    # A cascade with masks as wide as HTC's differs from it by nothing else.
    alike = scale.detectors["cascade_mask_rcnn"]
    mask_head = {key: value for key, value in heads[1].items() if key not in ("type", "with_conv_res")}
    alike = alike.replace(config={**alike.config, "roi_head": {**alike.config["roi_head"], "mask_head": mask_head}})
    plain = count(Run(cascade, scale.replace(detectors={**scale.detectors, "cascade_mask_rcnn": alike}), seed=0))
    counted = count(Run(htc, scale, seed=0))
    width, fused, regions = 48, (96 // 8) ** 2, 50
    branch = fused * (5 * width**2 + 4 * 9 * width**2 + width**2 + width * 8)
    links = 2 * regions * 14**2 * width**2
    assert counted["all_flops"] - plain["all_flops"] == branch + links


def test_speed_is_measured_for_every_setting_and_says_where():
    runs = [Run(STUDY.settings[name], load_scale("demo"), seed=0) for name in ("fpn", "a2fpn")]
    result = measure(runs, threads=1)
    assert set(result.frames_per_second) == {run.setting.key for run in runs}
    for key, rates in result.rounds.items():
        assert len(rates) == result.repetitions
        assert result.frames_per_second[key] == statistics.median(rates) > 0
    assert "1 threads" in result.machine


@pytest.mark.parametrize(
    ("detector", "neck"),
    [
        ("faster_rcnn", {"type": "FPN"}),
        ("cascade_mask_rcnn", {"type": "FPN"}),
        ("retinanet", {"type": "FPN", "start_level": 1, "add_extra_convs": "on_output"}),
        ("mask_rcnn", [{"type": "FPN"}, {"type": "BFP", "num_levels": 5, "refine_level": 2, "refine_type": "non_local"}]),
    ],
)
def test_every_detector_and_chain_is_counted_and_timed(detector, neck):
    run = Run(Setting(neck=neck, detector=detector, backbone="resnet50", schedule="1x"), load_scale("demo"), seed=0)
    counted = count(run)
    assert counted["neck_parameters"] < counted["all_parameters"]
    assert counted["all_flops"] > 0
    assert measure([run], threads=1).frames_per_second[run.setting.key] > 0


def test_every_stage_of_a_cascade_counts():
    demo = load_scale("demo")
    flops = {
        detector: count(Run(Setting(neck={"type": "FPN"}, detector=detector, backbone="resnet50", schedule="1x"), demo, 0))
        for detector in ("mask_rcnn", "cascade_mask_rcnn", "faster_rcnn")
    }
    masks = flops["mask_rcnn"]["all_flops"] - flops["faster_rcnn"]["all_flops"]
    more = flops["cascade_mask_rcnn"]["all_flops"] - flops["mask_rcnn"]["all_flops"]
    boxes = 100 * (49 * 48 * 192 + 192 * 192 + 192 * 7 + 192 * 4)
    saved = 100 * 192 * (6 - 1) * 4
    assert more == pytest.approx(2 * masks + 2 * boxes - saved, rel=1e-3)


def test_deformable_convolution_counts_as_convolution_and_samples():
    demo = load_scale("demo")
    flops = [
        count(Run(Setting(neck={"type": "FaPN", **options}, detector="mask_rcnn", backbone="resnet50", schedule="1x"), demo, 0))
        for options in ({}, {"use_fam": False})
    ]
    locations = 24 * 24 + 12 * 12 + 6 * 6
    per_location = 2 * 48 * 48 + 9 * 48 * 216 + 9 * 48 * 48 + 4 * 9 * 48
    assert flops[0]["all_flops"] - flops[1]["all_flops"] == locations * per_location


def test_training_memory_is_the_most_that_exists_at_one_time():
    with TensorMemory() as memory:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second.view(10, 100) * 2
        del second, third
        torch.zeros(500)
    assert memory.peak == 2 * 4000


def test_training_memory_grows_with_what_a_neck_keeps():
    demo = load_scale("demo")
    fpn, a2fpn = (count(Run(STUDY.settings[name], demo, 0))["training_memory"] for name in ("fpn", "a2fpn"))
    assert 2 * 96 * 96 * 3 * 4 < fpn < a2fpn


def rows_of_the_comparison():
    """Of the project's necks two every day, the others where there is time."""
    for row in load_study("necks").tables["necks"].rows:
        yield pytest.param(row, id=row.label, marks=() if row.label in ("A²-FPN", "A3-FPN-Lite") else pytest.mark.slow)


@pytest.mark.parametrize("row", list(rows_of_the_comparison()))
def test_every_neck_of_the_comparison_is_counted(row):
    counted = count(Run(row.setting, load_scale("demo"), seed=0))
    assert all(number > 0 for number in counted.values())


@pytest.mark.slow
def test_every_neck_of_the_comparison_is_timed():
    runs = [Run(setting, load_scale("demo"), seed=0) for setting in load_study("necks").tables["necks"].settings]
    assert [len(rates) for rates in frames_per_second(runs, repetitions=2)] == [2] * 18


@pytest.mark.parametrize(("height", "width"), [(832, 1280), (96, 96), (64, 64), (800, 1333)])
def test_speed_is_warmed_up_at_a_size_that_every_neck_takes(height, width):
    for length in (height, width):
        warm_up = _warm_up_length(length)
        assert warm_up == length or (warm_up % 64 == 0 and warm_up < length)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neck": {"type": "FPN", "start_level": 0, "end_level": 1}}, "neck .*FPN.*cannot be built: AssertionError"),
        ({"neck": {"type": "AFFFPN", "scale": 3}}, "scale is 3; allowed: 1, 2"),
    ],
)
def test_a_model_that_cannot_be_built_is_a_sentence(change, words):
    setting = Setting(**{"detector": "mask_rcnn", "backbone": "resnet50", "schedule": "1x", **change})
    with pytest.raises(UserError, match=words):
        count(Run(setting, load_scale("demo"), seed=0))


def test_weights_that_an_operator_views_count_once():
    layer = torch.nn.Linear(100, 100, bias=False)
    with TensorMemory([layer.weight]) as memory:
        layer(torch.zeros(1, 100))
    assert memory.peak == 4 * (100 * 100 + 100 + 100)
