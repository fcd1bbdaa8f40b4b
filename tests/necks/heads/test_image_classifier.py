"""The image classifier: its loss is the cross-entropy that it says, mixed and smoothed; gradients, predictions."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement

import necks.heads.image_classifier  # noqa: F401


def classifier(**options):
    backbone = {"type": "PreActResNet", "blocks": 1, "base_channels": 4, "out_indices": (2,)}
    torch.manual_seed(0)
    model = MODELS.build({
        "type": "ImageClassifier", "backbone": backbone, "num_classes": 5, "in_channels": 16,
        "neck": {"type": "HighestLevel", "in_channels": [16], "out_channels": 16, "num_outs": 1},
        "data_preprocessor": {"type": "ImgDataPreprocessor", "mean": [1.0, 2.0, 3.0], "std": [2.0, 2.0, 2.0]}, **options,
    })  # fmt: skip
    with torch.no_grad():
        model.head.weight.normal_()
    return model.eval()


def batch(number=6):
    images = torch.randn(number, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return images, [BaseDataElement(label=torch.tensor(n % 5)) for n in range(number)]


def negative_log_likelihood(logits, targets):
    return -(targets * (logits - logits.exp().sum(dim=1, keepdim=True).log())).sum(dim=1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_smoothed_cross_entropy(smoothing):
    model, (images, samples) = classifier(label_smoothing=smoothing), batch()
    targets = torch.full((6, 5), smoothing / 5)
    for row, sample in zip(targets, samples, strict=True):
        row[sample.label] += 1 - smoothing
    expected = negative_log_likelihood(model.logits(images), targets)
    torch.testing.assert_close(model(images, samples, "loss")["loss_label"], expected)


def test_mixed_images_have_mixed_labels():
    model, (images, samples) = classifier(mixup=0.2), batch()
    torch.manual_seed(3)
    loss = model(images, samples, "loss")["loss_label"]
    torch.manual_seed(3)
    share = torch.distributions.Beta(0.2, 0.2).sample()
    order = torch.randperm(6)
    targets = torch.eye(5)[[int(sample.label) for sample in samples]]
    mixed = share * images + (1 - share) * images[order]
    expected = negative_log_likelihood(model.logits(mixed), share * targets + (1 - share) * targets[order])
    torch.testing.assert_close(loss, expected)
    assert 0 < share < 1


def test_the_last_epochs_are_not_mixed():
    hub = MessageHub.get_current_instance()
    model, (images, samples) = classifier(mixup=0.2, plain_epochs=5), batch()
    plain = classifier()(images, samples, "loss")["loss_label"]
    try:
        hub.update_info("max_epochs", 20)
        for epoch, is_plain in ((0, False), (14, False), (15, True), (19, True)):
            hub.update_info("epoch", epoch)
            torch.manual_seed(3)
            assert torch.allclose(model(images, samples, "loss")["loss_label"], plain) == is_plain
    finally:
        for key in ("max_epochs", "epoch"):
            hub.runtime_info.pop(key, None)


def test_predictions_are_probabilities_and_every_parameter_learns():
    model, (images, samples) = classifier(), batch()
    scores = torch.stack([sample.scores for sample in model(images, samples, "predict")])
    torch.testing.assert_close(scores, model(images).softmax(dim=1))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(6))
    model.train()
    model(images, samples, "loss")["loss_label"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_images_are_normalised_in_their_order():
    model = classifier(
        data_preprocessor={"type": "ImgDataPreprocessor", "mean": [3.0, 2.0, 1.0], "std": [2.0] * 3, "bgr_to_rgb": True}
    )
    pixels = torch.tensor([5, 4, 7], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    inputs = model.data_preprocessor({"inputs": [pixels], "data_samples": []})["inputs"]
    assert inputs[0, :, 0, 0].tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"num_outs": 2}, "num_outs is 2; allowed: 1"), ({"out_channels": 8}, "out_channels is 8; allowed: 16")],
)
def test_no_pyramid_gives_the_highest_level_alone(options, sentence):
    given = {"type": "HighestLevel", "in_channels": [4, 16], "out_channels": 16, "num_outs": 1}
    levels = [torch.randn(1, 4, 8, 8), torch.randn(1, 16, 4, 4)]
    assert MODELS.build(dict(given))(levels) == (levels[1],)
    with pytest.raises(ValueError, match=sentence):
        MODELS.build({**given, **options})
