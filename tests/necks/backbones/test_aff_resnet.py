"""AFF-ResNet and AFF-ResNeXt: ResNet-D without fusion, the fusion's equations, initialisation, freezing, checkpointing, use."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from necks.layers.attentional_fusion import Addition
from tests.necks.helpers import randomise, without_gradient

SMALL = {"depth": 50, "base_channels": 8, "stem_channels": 8}
BACKBONES = {
    "AFFResNet": SMALL,
    # Groups of base_width * base_channels / 64 channels, at least one.
    "AFFResNeXt": {**SMALL, "groups": 4, "base_width": 16},
}
PLAIN = {
    "AFFResNet": {"type": "ResNetV1d", **BACKBONES["AFFResNet"]},
    "AFFResNeXt": {"type": "ResNeXt", "deep_stem": True, "avg_down": True, **BACKBONES["AFFResNeXt"]},
}


def backbone(name, training=True, **options):
    network = MODELS.build({"type": name, **BACKBONES[name], **options})
    network.train(training)  # mmdet's backbones return nothing from it
    return network


def images(size=64, batch=2, dtype=torch.float32):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)


def literal_attention(state, name, features):
    """MS-CAM in eval mode (equations 1 to 3); the first branch sees the mean, the second each location."""

    def branch(number, features):
        for conv, norm in (("narrow", "narrow_norm"), ("widen", "widen_norm")):
            conv, norm = f"{name}.branches.{number}.{conv}", f"{name}.branches.{number}.{norm}"
            features = F.conv2d(features, state[f"{conv}.weight"], state[f"{conv}.bias"])
            mean, variance, scale, shift = (
                state[f"{norm}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
            )
            features = (features - mean) / (variance + 1e-5).sqrt() * scale + shift
            features = features.clamp(min=0) if conv.endswith("narrow") else features
        return features

    both = branch(0, features.mean(dim=(2, 3), keepdim=True)) + branch(1, features)
    return 1 / (1 + (-both).exp())


def literal_aff(state, x, y):
    weights = literal_attention(state, "attention", x + y)
    return 2 * x * weights + 2 * y * (1 - weights)


def literal_iaff(state, x, y):
    weights = literal_attention(state, "first_attention", x + y)
    weights = literal_attention(state, "second_attention", x * weights + y * (1 - weights))
    return x * weights + y * (1 - weights)


def stages(network):
    return [getattr(network, name) for name in network.res_layers]


def blocks(network):
    return [block for stage in stages(network) for block in stage]


@pytest.mark.parametrize("name", BACKBONES)
def test_with_a_sum_it_is_mmdets_resnet_d(name):
    theirs = randomise(MODELS.build(PLAIN[name])).double()
    theirs.eval()
    ours = backbone(name, training=False, fusion="add").double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for mine, other in zip(ours(images(dtype=torch.float64)), theirs(images(dtype=torch.float64)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("depth", "specified"), [(38, 7_770_148), (47, 9_605_828)])
def test_networks_for_small_images_have_as_many_parameters_as_is_specified(depth, specified):
    options = {"groups": 32, "base_width": 4, "first_fusing_stage": 1, "stem": "small_images"}
    network = MODELS.build({"type": "AFFResNeXt", "depth": depth, **options})
    assert sum(p.numel() for p in network.parameters()) + 1024 * 100 + 100 == specified


@pytest.mark.parametrize("size", [(32, 32), (27, 33)])
def test_networks_for_small_images_begin_at_their_size(size):
    options = {"depth": 38, "groups": 4, "base_width": 16, "base_channels": 8, "first_fusing_stage": 1, "reduction": 4}
    network = MODELS.build({"type": "AFFResNeXt", "stem": "small_images", **options})
    levels = network(torch.randn(2, 3, *size))
    assert [tuple(level.shape[2:]) for level in levels] == [tuple(-(-side // 2**n) for side in size) for n in range(3)]
    assert len(blocks(network)) == 12
    assert not any(isinstance(block.fusion, Addition) for block in blocks(network))
    assert without_gradient(network, torch.randn(2, 3, *size))[0] == set()


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(("fusion", "literal"), [("aff", literal_aff), ("iaff", literal_iaff)])
def test_blocks_of_the_last_two_stages_fuse_as_the_equations_say(name, fusion, literal):
    network = randomise(backbone(name, training=False, fusion=fusion)).double()
    features = network.maxpool(network.stem(images(dtype=torch.float64)))
    for number, stage in enumerate(stages(network), start=1):
        for block in stage:
            branch = block.bn1(block.conv1(features)).clamp(min=0)
            branch = block.bn2(block.conv2(branch)).clamp(min=0)
            branch = block.bn3(block.conv3(branch))
            shortcut = block.downsample(features) if block.downsample is not None else features
            fused = literal(block.fusion.state_dict(), branch, shortcut) if number >= 3 else branch + shortcut
            expected, features = fused.clamp(min=0), block(features)
            torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("first_fusing_stage", "fusing"), [(1, 16), (3, 9), (4, 3), (5, 0)])
def test_fusion_begins_at_the_chosen_stage(first_fusing_stage, fusing):
    network = backbone("AFFResNet", first_fusing_stage=first_fusing_stage, reduction=4)
    fuses = [not isinstance(block.fusion, Addition) for block in blocks(network)]
    assert fuses == [False] * (16 - fusing) + [True] * fusing


@pytest.mark.parametrize("reduction", [4, 16])
def test_reduction_narrows_the_attention(reduction):
    network = backbone("AFFResNet", reduction=reduction)
    for block in blocks(network)[-9:]:
        convs = [branch.narrow for branch in block.fusion.attention.branches]
        assert [conv.out_channels for conv in convs] == [block.conv3.out_channels // reduction] * 2


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("zero", [True, False])
def test_last_norm_of_a_block_starts_at_zero(name, zero):
    network = backbone(name, zero_init_residual=zero)
    network.init_weights()
    assert {bool(block.bn3.weight.any()) for block in blocks(network)} == {not zero}
    others = [module for key, module in network.named_modules() if isinstance(module, _BatchNorm) and not key.endswith("bn3")]
    assert all((norm.weight == 1).all() for norm in others)


def test_attention_starts_as_kaiming_without_bias():
    network = backbone("AFFResNet", base_channels=32)
    network.init_weights()
    convs = [module for key, module in network.named_modules() if key.endswith(("narrow", "widen"))]
    assert len(convs) == 9 * 4
    assert not any(conv.bias.any() for conv in convs)
    for conv in convs:
        assert conv.weight.std().item() == pytest.approx((2 / conv.out_channels) ** 0.5, rel=0.1)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("fusion", ["aff", "iaff", "concat", "ms_gau", "ms_se", "ms_sa"])
def test_trains_every_parameter(name, fusion):
    network = randomise(backbone(name, fusion=fusion, reduction=4, norm_eval=False))
    missing, zero = without_gradient(network, images(batch=4))
    # Biases in front of a batch norm change nothing.
    assert {parameter for parameter in zero if not parameter.endswith(("narrow.bias", "widen.bias"))} == set()
    assert missing == set()


def test_frozen_stages_stay():
    network = backbone("AFFResNet", frozen_stages=3, norm_eval=False)
    frozen = [network.stem, *stages(network)[:3]]
    assert not any(parameter.requires_grad for part in frozen for parameter in part.parameters())
    assert not any(module.training for part in frozen for module in part.modules())
    assert all(parameter.requires_grad for parameter in network.layer4.parameters())
    assert network.layer4.training


@pytest.mark.parametrize("norm_eval", [True, False])
def test_norm_eval_keeps_the_statistics_also_of_the_attention(norm_eval):
    network = backbone("AFFResNet", norm_eval=norm_eval)
    norms = {key: module for key, module in network.named_modules() if isinstance(module, _BatchNorm)}
    before = {key: norm.running_mean.clone() for key, norm in norms.items()}
    network(images())
    assert {torch.equal(norm.running_mean, before[key]) for key, norm in norms.items() if "branches" in key} == {norm_eval}


@pytest.mark.parametrize("name", BACKBONES)
def test_checkpointing_gives_the_same(name):
    results = []
    for with_cp in (False, True):
        network = randomise(backbone(name, with_cp=with_cp, norm_eval=False)).double()
        inputs = images(dtype=torch.float64).requires_grad_()
        outputs = network(inputs)
        gradients = torch.autograd.grad(sum(output.sin().sum() for output in outputs), [inputs, *network.parameters()])
        results.append([*outputs, *gradients])
    for with_checkpoints, without in zip(*results, strict=True):
        torch.testing.assert_close(with_checkpoints, without, rtol=1e-12, atol=1e-12)


def test_another_norm_for_the_branch_of_means_trains_with_one_image():
    network = backbone("AFFResNet", norm_eval=False, global_norm_cfg={"type": "GN", "num_groups": 1})
    assert all(torch.isfinite(output).all() for output in network(images(batch=1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "afff"}, "fusion is 'afff'; allowed: aff, iaff, add, concat, ms_gau, ms_se, ms_sa"),
        ({"plugins": [{"cfg": {"type": "GlobalContextBlock"}, "position": "after_conv3"}]}, "plugins are not supported"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        backbone("AFFResNet", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 29}, "depth is 29; allowed: 38, 47, 50, 101"),
        ({"stem": "tiny"}, "stem is 'tiny'; allowed: large_images, small_images"),
    ],
)
def test_wrong_options_of_a_resnext_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        backbone("AFFResNeXt", **options)


@pytest.mark.parametrize("name", BACKBONES)
def test_serves_a_detector_of_mmdet(name):
    detector = MODELS.build(
        {
            "type": "RetinaNet",
            "backbone": {"type": name, **BACKBONES[name]},
            "neck": {"type": "FPN", "in_channels": [32, 64, 128, 256], "out_channels": 16, "num_outs": 5},
            "bbox_head": {
                "type": "RetinaHead",
                "num_classes": 3,
                "in_channels": 16,
                "feat_channels": 16,
                "stacked_convs": 1,
                "anchor_generator": {
                    "type": "AnchorGenerator",
                    "octave_base_scale": 4,
                    "scales_per_octave": 1,
                    "ratios": [1.0],
                    "strides": [4, 8, 16, 32, 64],
                },
            },
        }
    )
    detector.init_weights()
    scores, boxes = detector.eval()(images(), mode="tensor")
    assert [tuple(level.shape) for level in scores] == [(2, 3, size, size) for size in (16, 8, 4, 2, 1)]
    assert [tuple(level.shape) for level in boxes] == [(2, 4, size, size) for size in (16, 8, 4, 2, 1)]


@pytest.mark.parametrize("name", BACKBONES)
def test_serves_a_segmentor_of_mmseg(name):
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS as SEGMENTORS

    init_default_scope("mmseg")
    try:
        segmentor = SEGMENTORS.build(
            {
                "type": "EncoderDecoder",
                "backbone": {"type": name, **BACKBONES[name]},
                "decode_head": {
                    "type": "FCNHead",
                    "in_channels": 256,
                    "in_index": 3,
                    "channels": 16,
                    "num_classes": 3,
                },
                "test_cfg": {"mode": "whole"},
            }
        )
        segmentor.init_weights()
        assert segmentor.eval()(images(), mode="tensor").shape == (2, 3, 2, 2)
    finally:
        init_default_scope("mmdet")
