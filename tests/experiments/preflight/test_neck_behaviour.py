"""What a neck does beyond its contract is tried, and what another one would not do is said."""

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.nn import functional as F

from experiments.preflight.neck_behaviour import examine
from experiments.preflight.neck_contract import check_contract
from tests.own_necks import run_of


@MODELS.register_module(name="PeculiarNeck")
class PeculiarNeck(nn.Module):
    """Keeps the contract, and does all else that a neck should not."""

    def __init__(self, in_channels, out_channels, num_outs):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.unused = nn.Linear(3, 3)
        self.pooled_norm = nn.BatchNorm1d(out_channels)
        self.constant = nn.Parameter(torch.randn(1, out_channels, 1, 1))

    def forward(self, inputs):
        levels = [conv(level) for conv, level in zip(self.convs, inputs, strict=True)]
        # A factor of two in the place of the level's size.
        levels[0] = levels[0] + F.interpolate(levels[1], scale_factor=2)
        if float(self.pooled_norm(levels[0].mean((2, 3))).sum()) > 1e9:
            raise RuntimeError("large")
        # bfloat16 has three digits.
        levels[2] = (levels[2] + 1000) - 1000
        height, width = levels[-1].shape[2:]
        levels.append(self.constant.expand(len(levels[0]), -1, -(-height // 2), -(-width // 2)).contiguous())
        return tuple(levels)


def findings(neck):
    run = run_of({"type": neck})
    return {finding.subject: finding for finding in examine(run, check_contract(run))}


def test_a_usual_neck_is_right_in_everything():
    found = findings("FPN")
    assert all(finding.is_right for finding in found.values()), found
    assert found["an image of 251 × 317"].words == "levels of 63 × 80, 32 × 40, 16 × 20, 8 × 10, 4 × 5"
    assert found["gradients of all parameters"].words == "all 16 get one"
    assert found["torch.compile"].words == "one graph"


def test_a_peculiar_neck_is_told_what_it_does():
    found = findings("PeculiarNeck")
    words = {subject: finding.words for subject, finding in found.items() if not finding.is_right}
    assert words.pop("each level depends on the image") == "level 5: the same for another image"
    assert "level 5 comes back in another format" in words.pop("channels_last against contiguous")
    assert words.pop("an image of 251 × 317").startswith("fails on an image of 251 × 317: RuntimeError: The size of tensor a")
    assert words.pop("one image in training").startswith("ValueError: Expected more than 1 value per channel")
    assert words.pop("gradients of all parameters").startswith(
        "4 of 13 get none, such as unused.weight, unused.bias, pooled_norm"
    )
    assert words.pop("torch.compile").startswith("2 graphs; the first breaks at: ")
    assert words.pop("bfloat16 against float32").startswith("deviates by ")
    assert not words
    assert found["a training step in the detector"].is_right


@pytest.mark.parametrize("neck", ["A2FPN", "FaPN", "AFFFPN", "AFA", "DySampleFPN"])
def test_the_necks_of_this_project_train_all_their_parameters(neck):
    found = findings(neck)
    assert found["gradients of all parameters"].is_right
    assert found["each level depends on the image"].is_right
