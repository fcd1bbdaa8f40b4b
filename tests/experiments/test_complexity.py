"""Parameters and FLOPs of Table 6 in the paper's convention, and honest ones."""

import json

import pytest

from experiments.complexity import count
from experiments.run import Run
from experiments.scale import load_scale
from experiments.speed import measure
from experiments.study import load_study

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


def test_speed_is_measured_for_every_setting_and_says_where():
    runs = [Run(STUDY.settings[name], load_scale("demo"), seed=0) for name in ("fpn", "a2fpn")]
    result = measure(runs, threads=1)
    assert len(result["frames_per_second"]) == 2
    assert all(rate > 0 for rate in result["frames_per_second"])
    assert "1 threads" in json.dumps(result)
