"""A neck that breaks the contract ends in one sentence: neck, level, found, wanted."""

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.nn import functional as F

from experiments.errors import UserError
from experiments.preflight.neck_contract import check_contract
from experiments.preflight.necks import check_necks
from experiments.records.checked_necks import passed_file
from experiments.workflow.grid import Grid
from tests.own_necks import run_of

DETECTORS = ("mask_rcnn", "faster_rcnn", "retinanet", "htc", "cascade_mask_rcnn")


@MODELS.register_module(name="NeckWithAFault")
class NeckWithAFault(nn.Module):
    """Right levels, which `fault` changes."""

    def __init__(self, in_channels, out_channels, num_outs, fault):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.num_outs, self.fault = num_outs, fault

    def forward(self, inputs):
        levels = [conv(level) for conv, level in zip(self.convs, inputs, strict=True)]
        while len(levels) < self.num_outs:
            levels.append(F.max_pool2d(levels[-1], 1, 2))
        return FAULTS[self.fault][0](levels)


def changed(index, change):
    """The levels with one changed."""
    return lambda levels: tuple(change(level) if i == index else level for i, level in enumerate(levels))


def fail(levels):
    raise RuntimeError("no such thing\nmore")


# Fault -> (what the neck returns, the sentence after the neck and its place).
FAULTS = {
    "none": (lambda levels: None, "found nothing in the place of its levels; wanted a tuple of 5 maps"),
    "one map": (lambda levels: levels[0], "found Tensor in the place of its levels; wanted a tuple of 5 maps"),
    "few": (lambda levels: tuple(levels[:4]), "found 4 levels; wanted a tuple of 5 maps"),
    "many": (lambda levels: (*levels, levels[-1]), "found 6 levels; wanted a tuple of 5 maps"),
    "text": (lambda levels: (*levels[:4], "p6"), "level 5: found str; wanted a tensor (N, 48, H, W)"),
    "flat": (
        changed(2, lambda level: level.flatten(2)),
        "level 3: found a tensor (1, 48, 384); wanted a tensor (N, 48, H, W)",
    ),
    "wide": (
        changed(1, lambda level: torch.cat([level, level], 1)),
        "level 2: found (1, 96, 32, 48); wanted (1, 48, H, W), 48 channels",
    ),
    "batch": (
        changed(0, lambda level: torch.cat([level, level])),
        "level 1: found (2, 48, 64, 96); wanted (1, 48, H, W), 48 channels",
    ),
    "double": (
        changed(3, torch.Tensor.double),
        "level 4: found torch.float64; wanted torch.float32, that of the image",
    ),
    "nan": (changed(4, lambda level: level / 0), "level 5: found values that are not finite; wanted finite ones"),
    "reversed": (
        lambda levels: tuple(reversed(levels)),
        "level 2: found stride 32, 8 × 12 above stride 64, 4 × 6; wanted the finest level first",
    ),
    "strides": (
        lambda levels: tuple(F.max_pool2d(level, 1, 2) for level in levels),
        "level 1: found stride 8, 32 × 48; rpn_head wants stride 4, 64 × 96 for an image of 256 × 384",
    ),
    "one stride": (
        changed(4, lambda level: F.interpolate(level, scale_factor=2)),
        "level 5: found stride 32, 8 × 12; rpn_head wants stride 64, 4 × 6 for an image of 256 × 384",
    ),
    "uneven": (
        changed(0, lambda level: level[..., :-1]),
        "level 1: found 64 × 95; rpn_head wants stride 4, 64 × 96 for an image of 256 × 384",
    ),
    "fails": (fail, "fails on an image of 256 × 384: RuntimeError: no such thing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_neck_level_found_and_wanted(fault):
    with pytest.raises(UserError) as caught:
        check_contract(run_of({"type": "NeckWithAFault", "fault": fault}))
    place = f"neck NeckWithAFault, fault: {fault}, in mask_rcnn, resnet50, scale demo"
    assert str(caught.value) == f"{place}: {FAULTS[fault][1]}"


def test_a_one_stage_detector_wants_the_strides_of_its_anchors():
    with pytest.raises(UserError, match="level 1: found stride 4, 64 × 96; bbox_head wants stride 8, 32 × 48"):
        check_contract(run_of({"type": "FPN"}, "retinanet"))
    levels = check_contract(run_of({"type": "FPN", "start_level": 1, "add_extra_convs": "on_output"}, "retinanet")).levels
    assert [level.shape[2] for level in levels] == [32, 16, 8, 4, 2]


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_says_what_strides_it_wants(detector):
    neck = {"type": "FPN", "start_level": 3}
    with pytest.raises(UserError, match="level 1: found stride 32"):
        check_contract(run_of(neck, detector))


# The comparison has every neck; the other studies have them with other options.
@pytest.mark.parametrize(
    "study", ["necks", *(pytest.param(study, marks=pytest.mark.slow) for study in ("a2fpn", "a3fpn", "afa", "aff", "fapn"))]
)
def test_every_neck_of_the_studies_keeps_the_contract(study):
    runs = Grid({"studies": study, "scale": "demo", "seeds": 0}).runs.values()
    for run in {passed_file(run): run for run in runs}.values():
        # Heads of segmentation and queries read four.
        assert len(check_contract(run).levels) in (4, 5)


def test_an_operator_that_only_gpus_have_is_no_fault(tmp_path, monkeypatch, capsys):
    def only_on_gpus(levels):
        raise RuntimeError("carafe_forward_impl: implementation for device cpu not found.\n")

    monkeypatch.setitem(FAULTS, "gpu", (only_on_gpus, ""))
    run = run_of({"type": "NeckWithAFault", "fault": "gpu"})
    monkeypatch.setattr("experiments.records.checked_necks.CHECKS", tmp_path)
    monkeypatch.setattr("experiments.records.checked_necks.program_fingerprint", lambda *_: "0")
    assert check_necks([run]) == 1
    assert "not checked, for this machine has no GPU: neck NeckWithAFault" in capsys.readouterr().err


def test_every_faulty_neck_is_told_and_those_that_pass_are_not_checked_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.records.checked_necks.CHECKS", tmp_path)
    right, few, wide = (
        run_of({"type": "FPN"}),
        *(run_of({"type": "NeckWithAFault", "fault": fault}) for fault in ("few", "wide")),
    )
    monkeypatch.setattr("experiments.records.checked_necks._sources", lambda *_: "0")
    with pytest.raises(UserError, match="neck NeckWithAFault, fault: few"):
        check_necks([few, right, wide])
    assert "error: neck NeckWithAFault, fault: wide" in capsys.readouterr().err
    assert check_necks([right, run_of({"type": "FPN"})]) == 0
