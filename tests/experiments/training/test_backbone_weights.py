"""The backbone of a run as a file of weights: taken whole, loaded by another framework, refused where it does not fit."""

import json

import pytest
import torch
from mmengine.registry import MODELS

from experiments.configs.build import build_model, load_config
from experiments.errors import UserError
from experiments.paths import backbone_file, metrics_file
from experiments.records.backbone_hash import recorded_weights
from experiments.records.provenance import file_hash
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from experiments.training.backbone_weights import refuse_other_backbones, take_backbone

RUN = "0123456789ab"


@pytest.fixture
def leave_checkpoint(tmp_path, monkeypatch):
    """A function that leaves a finished run with a checkpoint; the working folder is its project."""
    monkeypatch.chdir(tmp_path)

    def leave(weights, run=RUN):
        (metrics_file(run).parent / "checkpoints").mkdir(parents=True)
        metrics_file(run).write_text(json.dumps({"run": run, "metrics": {}}))
        content = {"meta": {"iter": 3}, "state_dict": weights}
        torch.save(content, metrics_file(run).parent / "checkpoints/epoch_1.pth")
        return run

    return leave


def small_resnet(**options):
    return MODELS.build({"type": "mmdet.ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8, **options})


def of_model(backbone):
    return {f"backbone.{name}": values for name, values in backbone.state_dict().items()}


def test_any_model_begins_with_the_backbone_as_its_config_says(leave_checkpoint):
    trained = small_resnet()
    run = leave_checkpoint({**of_model(trained), "neck.weight": torch.ones(3)})
    take_backbone(run)
    assert set(torch.load(backbone_file(run), weights_only=True)["state_dict"]) == set(of_model(trained))
    assert recorded_weights(run) == file_hash(backbone_file(run))
    begun = small_resnet(init_cfg={"type": "Pretrained", "checkpoint": str(backbone_file(run)), "prefix": "backbone."})
    begun.init_weights()
    for name, values in trained.state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], values, rtol=0, atol=0)


def test_equal_backbones_have_equal_files(leave_checkpoint):
    weights = of_model(small_resnet())
    for run in (RUN, "ba9876543210"):
        leave_checkpoint(weights, run)
        take_backbone(run)
    assert recorded_weights(RUN) == recorded_weights("ba9876543210")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_channels": 4}, r"layer1.0.conv1.weight, wanted \(4, 8, 3, 3\), which has \(8, 8, 3, 3\)"),
        ({"depth": 34}, r"layer1.2.conv1.weight, wanted \(8, 8, 3, 3\), which is missing"),
    ],
)
def test_a_backbone_that_fits_in_part_is_refused(leave_checkpoint, options, words):
    run = leave_checkpoint(of_model(small_resnet()))
    take_backbone(run)
    refuse_other_backbones(small_resnet(), run)
    with pytest.raises(UserError, match=rf"{RUN}\.pth: the backbone of run {RUN} does not fit ResNet: \d+ of its .*{words}"):
        refuse_other_backbones(small_resnet(**options), run)


def test_what_is_not_there_is_one_sentence(leave_checkpoint, tmp_path):
    with pytest.raises(UserError, match=f"runs/{RUN}: the run is not finished"):
        take_backbone(RUN)
    run = leave_checkpoint({"neck.weight": torch.ones(3)})
    with pytest.raises(UserError, match=r"epoch_1\.pth: holds no weights of a backbone"):
        take_backbone(run)
    (metrics_file(run).parent / "checkpoints/epoch_1.pth").unlink()
    with pytest.raises(UserError, match="no checkpoint is left"):
        take_backbone(run)


@pytest.mark.parametrize("backbone", ["aff_resnet50", "iaff_resnext50_32x4d"])
def test_a_classifiers_backbone_fits_detectors(leave_checkpoint, monkeypatch, backbone, request):
    root = request.config.rootpath
    monkeypatch.chdir(root)
    scale, settings = load_scale("demo"), load_study("aff").settings
    classifier = settings[f"{backbone}_160e"]
    detector = settings["add"].replace(backbone=backbone, load_from=classifier)
    trained, begun = Run(classifier, scale, 0), Run(detector, scale, 0)
    assert load_config(begun).model.backbone.init_cfg == {
        "type": "Pretrained",
        "checkpoint": f"pretrained/backbones/{trained.id}.pth",
        "prefix": "backbone.",
    }
    assert load_config(begun).load_from is None
    models = [build_model(run) for run in (trained, begun)]
    shapes = [{name: values.shape for name, values in model.backbone.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]
