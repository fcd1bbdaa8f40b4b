"""Every neck of every study trains inside the detectors of its rows, in float32 and under bfloat16 autocast."""

import json
from contextlib import nullcontext

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from experiments.configs.model_neck import neck_of
from experiments.configs.write import config_text, framework
from experiments.paths import STUDIES
from experiments.spec.metrics import LEARNS_FROM
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting
from experiments.spec.study import load_study
from experiments.tasks.task import load_task
from necks.auxiliary_loss_hook import add_auxiliary_losses

NAMES = sorted(path.stem for path in STUDIES.glob("*.yaml"))
DEMO = load_scale("demo")
RETINANET = [
    {"type": "FPN", "start_level": 1, "add_extra_convs": "on_output"},
    {"type": "FaPN", "start_level": 1, "extra_levels": "conv_c5"},
    {"type": "A3FPN", "end_level": 6},
]
# Another backbone for the neck of small_classifier, whose grouped convolutions take a minute in bfloat16 on CPUs.
SLOW_IN_BFLOAT16 = ("small_resnext_classifier",)
OF_OBJECTS = ("mask_rcnn", "faster_rcnn", "cascade_mask_rcnn", "htc", "retinanet")
PRECISIONS = {"float32": nullcontext, "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16)}


def shared_backbone(setting):
    """ResNet-50 for every row, and for those of networks with fewer stages their own."""
    levels = [len(DEMO.backbones[name].in_channels) for name in ("resnet50", setting.backbone)]
    return "resnet50" if levels[0] == levels[1] else setting.backbone


def necks_in_detectors():
    """Each neck with its options once for every detector that any row trains it in."""
    settings = [setting for name in NAMES for table in load_study(name).tables.values() for setting in table.settings]
    quick = [setting for setting in settings if setting.detector not in SLOW_IN_BFLOAT16]
    alike = {(json.dumps(setting.neck, sort_keys=True), setting.detector): setting for setting in quick}
    chosen = [setting.replace(backbone=shared_backbone(setting), schedule="1x") for setting in alike.values()]
    chosen += [Setting(neck=neck, detector="retinanet", backbone="resnet50", schedule="1x") for neck in RETINANET]
    return [pytest.param(setting, id=f"{setting.detector}-{json.dumps(setting.neck)}") for setting in chosen]


def random_objects(setting):
    """Two random images with boxes, and with what else the detector learns from."""
    detector = DEMO.detectors[setting.detector]
    return demo_mm_inputs(
        2, [[3, 96, 96]] * 2, num_items=[2, 3], num_classes=6, with_mask=detector.masks, with_semantic=detector.stuff_maps,
        use_box_type=False,
    )  # fmt: skip


def train_one_step(setting, tmp_path, precision="float32"):
    """Train a detector of the demo scale on two random images; return it, its losses and the parameters of before."""
    path = tmp_path / "config.py"
    run = Run(setting, DEMO, seed=0)
    path.write_text(config_text(run))
    config, task = Config.fromfile(path), load_task(run.task)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(framework(run)):
        model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    add_auxiliary_losses(model)
    task.return_float32(model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    from_objects = run.task not in LEARNS_FROM
    data = random_objects(setting) if from_objects else task.random_batch(run, model, "cpu")
    with PRECISIONS[precision]():
        losses = model.train_step(data, wrapper)
    return model, losses, before


def in_precisions():
    """Everything in float32, and each neck and each detector in bfloat16 too; in heads of segmentation all others are slow."""
    necks, detectors = set(), set()
    for parameters in necks_in_detectors():
        (setting,) = parameters.values
        neck = tuple(setting.neck_types)
        is_new = neck not in necks or setting.detector not in detectors
        marks = () if is_new or setting.detector in OF_OBJECTS else pytest.mark.slow
        yield pytest.param(setting, "float32", id=f"{parameters.id}-float32", marks=marks)
        if is_new:
            yield pytest.param(setting, "bfloat16", id=f"{parameters.id}-bfloat16", marks=marks)
        necks.add(neck)
        detectors.add(setting.detector)


@pytest.mark.parametrize(("setting", "precision"), list(in_precisions()))
def test_every_neck_trains_one_step_inside_the_detectors_of_its_rows(setting, precision, tmp_path):
    model, losses, before = train_one_step(setting, tmp_path, precision)
    assert torch.isfinite(losses["loss"])
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
    run = Run(setting, DEMO, seed=0)
    trained = dict(neck_of(model, run).named_parameters())
    changed = [not torch.equal(parameter, before[f"{run.neck_at}.{name}"]) for name, parameter in trained.items()]
    assert any(changed) == (setting.neck_types != ["HighestLevel"])


@pytest.mark.parametrize("backbone", sorted(DEMO.backbones))
def test_every_backbone_trains_one_step(backbone, tmp_path):
    setting = Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone=backbone, schedule="1x")
    model, losses, before = train_one_step(setting, tmp_path)
    assert torch.isfinite(losses["loss"])
    assert any(not torch.equal(p, before[f"backbone.{name}"]) for name, p in model.backbone.named_parameters())
