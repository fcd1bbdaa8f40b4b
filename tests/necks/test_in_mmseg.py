"""Necks of this project in mmseg's segmentors."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS as SEGMENTORS


@pytest.fixture
def _mmsegs_scope():
    init_default_scope("mmseg")
    yield
    init_default_scope("mmdet")


A3FPN = {
    "type": "A3FPN",
    "direction": "bottom_up",
    "compress_channel": [4, 4, 4, 4],
    "group_num": [4, 4, 4, 4],
    "dcn_groups": [2, 2, 2, 2],
}
NECKS = [{"type": name} for name in ("A2FPN", "FaPN", "AFFFPN", "AFA", "FCAT", "DySampleFPN")] + [A3FPN]


@pytest.mark.usefixtures("_mmsegs_scope")
@pytest.mark.parametrize("neck", NECKS, ids=lambda neck: neck["type"])
def test_serves_a_segmentor_of_mmseg(neck):
    segmentor = SEGMENTORS.build(
        {
            "type": "EncoderDecoder",
            "backbone": {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8},
            "neck": {**neck, "in_channels": [8, 16, 32, 64], "out_channels": 16, "num_outs": 4},
            "decode_head": {
                "type": "FPNHead",
                "in_channels": [16] * 4,
                "in_index": [0, 1, 2, 3],
                "feature_strides": [4, 8, 16, 32],
                "channels": 16,
                "num_classes": 3,
            },
            "test_cfg": {"mode": "whole"},
        }
    )
    assert segmentor.eval()(torch.randn(1, 3, 64, 64), mode="tensor").shape == (1, 3, 16, 16)
