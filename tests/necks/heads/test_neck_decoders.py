"""Decoders that take a neck equal the stock ones where the neck is the stock pyramid, and train with any other."""

import copy

import pytest
import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder, PixelDecoder
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.models.decode_heads import UPerHead

from necks.heads.pixel_decoders import NeckMSDeformAttnPixelDecoder, NeckPixelDecoder
from necks.heads.upernet import NeckUPerHead

CHANNELS, WIDTH = [8, 12, 16, 20], 32
BN = {"type": "BN", "requires_grad": True}
GN = {"type": "GN", "num_groups": 8}
ENCODER = ConfigDict(
    num_layers=2,
    layer_cfg={
        "self_attn_cfg": {"embed_dims": WIDTH, "num_heads": 4, "num_levels": 3, "num_points": 4, "batch_first": True},
        "ffn_cfg": {"embed_dims": WIDTH, "feedforward_channels": 24, "num_fcs": 2, "act_cfg": {"type": "ReLU"}},
    },
)
POSITIONS = ConfigDict(num_feats=WIDTH // 2, normalize=True)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def features(grad=False):
    generator = torch.Generator().manual_seed(0)
    sides = zip(CHANNELS, (24, 12, 6, 3), strict=True)
    return [
        torch.randn(2, width, side, side + 1, generator=generator, dtype=torch.float64, requires_grad=grad)
        for width, side in sides
    ]


def same_weights(stock, ours, names):
    """Give a decoder the weights of the stock one, by their names in it."""
    weights = {}
    for name, value in stock.state_dict().items():
        new = next((name.replace(old, new, 1) for old, new in names.items() if name.startswith(old)), name)
        weights[new] = value
    ours.load_state_dict(weights)
    return stock.double().eval(), ours.double().eval()


def upernet(neck):
    head = {"in_channels": CHANNELS, "in_index": [0, 1, 2, 3], "channels": WIDTH, "num_classes": 5, "norm_cfg": BN}
    return UPerHead(**head), NeckUPerHead(neck=neck, **head)


def test_uppernet_with_its_own_pyramid_is_the_stock_head():
    neck = {"type": "UPerFPN", "in_channels": [*CHANNELS[:3], WIDTH], "out_channels": WIDTH, "num_outs": 4, "norm_cfg": BN}
    stock, ours = same_weights(*upernet(neck), {"lateral_convs": "neck.lateral_convs", "fpn_convs": "neck.fpn_convs"})
    torch.testing.assert_close(ours(features()), stock(features()), rtol=1e-12, atol=1e-12)


def test_maskformers_decoder_with_its_own_pyramid_is_the_stock_one():
    stock = PixelDecoder(CHANNELS, WIDTH, WIDTH, norm_cfg=GN)
    neck = {"type": "SequentialFPN", "in_channels": CHANNELS, "out_channels": WIDTH, "num_outs": 4, "norm_cfg": GN}
    ours = NeckPixelDecoder(CHANNELS, WIDTH, WIDTH, neck=neck)
    stock.memory_projection = copy.deepcopy(ours.memory_projection)
    parts = {"lateral_convs": "neck.lateral_convs", "output_convs": "neck.output_convs", "last_feat_conv": "neck.top_conv"}
    stock, ours = same_weights(stock, ours, parts)
    masks, memory = stock(features(), None)
    own_masks, own_memory = ours(features(), None)
    torch.testing.assert_close(own_masks, masks, rtol=1e-12, atol=1e-12)
    # mmdetection's head projects the memory itself.
    torch.testing.assert_close(own_memory, stock.memory_projection(memory), rtol=1e-12, atol=1e-12)


def test_mask2formers_decoder_with_its_own_pyramid_is_the_stock_one():
    options = {"feat_channels": WIDTH, "out_channels": WIDTH, "num_outs": 3, "norm_cfg": GN}
    options |= {"encoder": ENCODER, "positional_encoding": POSITIONS}
    stock = MSDeformAttnPixelDecoder(in_channels=CHANNELS, **copy.deepcopy(options))
    widths = [CHANNELS[0], *[WIDTH] * 3]
    neck = {"type": "SequentialFPN", "in_channels": widths, "out_channels": WIDTH, "num_outs": 4, "norm_cfg": GN}
    ours = NeckMSDeformAttnPixelDecoder(CHANNELS, neck={**neck, "encoded": 3, "mode": "bilinear"}, **copy.deepcopy(options))
    stock.init_weights()
    parts = {
        "lateral_convs": "neck.lateral_convs",
        "output_convs": "neck.output_convs",
        "mask_feature": "mask_projection",
    }
    stock, ours = same_weights(stock, ours, parts)
    masks, levels = stock(features())
    own_masks, own_levels = ours(features())
    torch.testing.assert_close(own_masks, masks, rtol=1e-12, atol=1e-12)
    assert len(own_levels) == len(levels) == 3
    for own, level in zip(own_levels, levels, strict=True):
        torch.testing.assert_close(own, level, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "neck", [{"type": "FPN"}, {"type": "PAFPN"}, {"type": "FaPN"}, {"type": "A2FPN"}, {"type": "AFA", "pool": [7]}]
)
def test_any_neck_stands_in_a_decoder(neck):
    widths = {"in_channels": [*CHANNELS[:3], WIDTH], "out_channels": WIDTH, "num_outs": 4}
    found = "mmdet." if neck["type"] in ("FPN", "PAFPN") else ""
    options = {"extra_level": "pool"} if neck["type"] == "A2FPN" else {}
    _, head = upernet({**neck, **widths, **options, "type": found + neck["type"]})
    levels = [level.detach().float().requires_grad_() for level in features()]
    head(levels).sum().backward()
    assert all(torch.isfinite(level.grad).all() for level in levels)
    assert sum(p.grad is not None and p.grad.abs().sum() > 0 for p in head.neck.parameters()) > 0
