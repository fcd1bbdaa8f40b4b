"""Models of whole papers' rows at their scales: their sizes to the digit, and a training step of each."""

from contextlib import nullcontext

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from experiments.configs.build import build_empty_model
from experiments.configs.model_neck import neck_of
from experiments.configs.write import config_text, framework
from experiments.spec.neck_catalog import HEADS
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from experiments.tasks.task import load_task

MODELS_OF_PAPERS = yaml.safe_load((HEADS / "parameters.yaml").read_text())
# One of each kind is quick enough for every day.
EVERY_DAY = (
    "voc_a3fpn",
    "visdrone_a3fpn",
    "point_rend_fpn",
    "panoptic_fpn_r50",
    "labels_fapn_r50",
    "upernet",
    "labels_mask2former_a3fpn",
)
PRECISIONS = {"float32": nullcontext, "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16)}


def run_of(entry):
    return Run(load_study(entry["study"]).settings[entry["setting"]], load_scale(entry["scale"]), seed=0)


def named(entry):
    return f"{entry['scale']}-{entry['setting']}"


def steps():
    for entry in MODELS_OF_PAPERS:
        for precision in PRECISIONS:
            is_quick = entry["setting"] in EVERY_DAY and precision == "float32"
            marks = () if is_quick else pytest.mark.slow
            yield pytest.param(entry, precision, id=f"{named(entry)}-{precision}", marks=marks)


@pytest.mark.parametrize("entry", MODELS_OF_PAPERS, ids=named)
def test_a_model_has_as_many_parameters_as_is_specified(entry):
    model, run = build_empty_model(run_of(entry)), run_of(entry)
    assert sum(p.numel() for p in model.parameters()) == entry["parameters"]
    if "trainable" in entry:
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == entry["trainable"]
    if "neck" in entry:
        assert sum(p.numel() for p in neck_of(model, run).parameters()) == entry["neck"]


@pytest.mark.parametrize(("entry", "precision"), list(steps()))
def test_a_model_of_the_paper_setting_trains_one_step(entry, precision, tmp_path):
    run, path = run_of(entry), tmp_path / "config.py"
    small = Run(run.setting, run.scale.replace(complexity_image=(128, 128), batch_size=2), 0)
    path.write_text(config_text(run))
    config, task = Config.fromfile(path), load_task(run.task)
    config.model.backbone.init_cfg = None
    config.model.data_preprocessor.pop("batch_augments", None)
    config.model.data_preprocessor.pop("size", None)
    if framework(run) == "mmseg":
        config.model.data_preprocessor.size = (128, 128)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(framework(run)):
        model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    task.return_float32(model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {name: p.detach().clone() for name, p in neck_of(model, run).named_parameters()}
    batch = task.random_batch(small, model, "cpu")
    batch = {key: value[:2] for key, value in batch.items()}
    with PRECISIONS[precision]():
        losses = model.train_step(batch, wrapper)
    assert torch.isfinite(losses["loss"])
    assert all(torch.isfinite(p).all() for p in model.parameters())
    trained = neck_of(model, run).named_parameters()
    assert not before or any(not torch.equal(p, before[name]) for name, p in trained)
