"""PreActResNet: the specified numbers of parameters, its equations, sizes, initialisation, refusals, use as a backbone."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from tests.necks.helpers import randomise, without_gradient


def backbone(**options):
    return MODELS.build({"type": "PreActResNet", "base_channels": 8, "blocks": 2, "norm_cfg": {"type": "BN"}, **options})


def images(size=(32, 40), dtype=torch.float32):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(("classes", "specified"), [(20, 7_876_596), (100, 7_897_156)])
def test_aff_resnet_32_has_as_many_parameters_as_is_specified(classes, specified):
    network = MODELS.build({"type": "PreActResNet", "blocks": 5, "fusion": "aff", "out_indices": (2,)})
    assert sum(p.numel() for p in network.parameters()) + 256 * classes + classes == specified


def literal(state, pixels):
    """Identity mappings (arXiv 1603.05027) as in AFF's code, in eval mode, block by block; sums, small images."""

    def normalised(features, name):
        mean, variance = (state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var"))
        return (features - mean) / (variance + 1e-5).sqrt()

    def activated(features, name):
        scale, shift = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (normalised(features, name) * scale + shift).clamp(min=0)

    features, levels = F.conv2d(normalised(pixels, "in_norm"), state["stem.weight"], padding=1), []
    for stage in range(3):
        for block in range(2):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            branch = F.conv2d(activated(features, f"{name}.norm1"), state[f"{name}.conv1.weight"], stride=stride, padding=1)
            branch = F.conv2d(activated(branch, f"{name}.norm2"), state[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                means = features.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean(dim=(3, 5))
                features = F.conv2d(means, state[f"{name}.shortcut.1.weight"])
            features = branch + features
        levels.append(activated(features, f"out_norms.{stage}"))
    return levels


def test_computes_what_the_equations_say():
    network = randomise(backbone().double()).eval()
    for ours, theirs in zip(
        network(images(dtype=torch.float64)), literal(network.state_dict(), images(dtype=torch.float64)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
@pytest.mark.parametrize(("stem", "first"), [("small_images", 1), ("large_images", 4)])
def test_levels_halve_from_the_size_of_the_stem(stem, first, size):
    levels = backbone(stem=stem)(images(size))
    expected = [tuple(-(-side // (first * 2**level)) for side in size) for level in range(3)]
    assert [tuple(level.shape) for level in levels] == [(2, 8 * 2**n, *sides) for n, sides in enumerate(expected)]


@pytest.mark.parametrize("fusion", ["add", "aff", "iaff", "ms_sa"])
def test_every_parameter_gets_a_gradient(fusion):
    missing, _ = without_gradient(backbone(fusion=fusion), images())
    assert not missing


def test_fusion_stands_in_every_block_and_starts_by_kaiming():
    network = backbone(fusion="aff", reduction=2, context="local+local")
    network.init_weights()
    attentions = [module for module in network.modules() if type(module).__name__ == "MultiScaleAttention"]
    assert len(attentions) == 6
    assert all(not any(attention.sees_mean) for attention in attentions)
    weight = network.stages[2][1].conv2.weight.detach()
    assert weight.std() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.1)


def test_stages_behind_the_last_output_are_left_out():
    network = backbone(out_indices=(0, 1))
    assert len(network.stages) == 2
    assert len(network(images())) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stem": "deep"}, "stem is 'deep'; allowed: small_images, large_images"),
        ({"blocks": 0}, "blocks is 0; allowed: 1 and more"),
        ({"out_indices": (3,)}, "out_indices is 3; allowed: 0, 1, 2"),
        ({"fusion": "sum"}, "fusion is 'sum'"),
    ],
)
def test_what_is_not_allowed_is_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        backbone(**options)
